"""Configuration of the lit suites: IR tests and command-line tests."""
import os

import lit.formats
from lit.llvm import llvm_config

config.name = "NJU"
config.test_format = lit.formats.ShTest(not llvm_config.use_lit_shell)
config.suffixes = [".mlir", ".test"]
config.excludes = ["fixtures", "integration", "Inputs", "CMakeLists.txt"]
config.test_source_root = os.path.dirname(__file__)
config.test_exec_root = os.path.join(config.nju_obj_root, "test")

config.substitutions.append(("%src_root", config.nju_src_root))
config.substitutions.append(("%python", os.path.join(config.nju_src_root, ".venv", "bin", "python")))

llvm_config.with_environment("PATH", config.nju_tools_dir, append_path=True)
llvm_config.with_environment("PATH", config.llvm_tools_dir, append_path=True)
llvm_config.add_tool_substitutions(
    ["FileCheck", "not", "count", "split-file"], config.llvm_tools_dir)
llvm_config.add_tool_substitutions(
    ["nju-opt", "nju-compile", "nju-run"], config.nju_tools_dir)

# Tests that read ../shared are unsupported where it is absent.
shared = os.environ.get("NJU_SHARED", os.path.join(config.nju_src_root, "..", "shared"))
if os.path.isdir(os.path.join(shared, "data")):
    config.available_features.add("shared-data")
    config.substitutions.append(("%shared", os.path.abspath(shared)))
