# The protobuf classes of ONNX, generated from the onnx-ml.proto that the onnx
# Python package ships: distributions package releases that are too old for
# what today's exporters write.
#
# Defines the target NJUONNXProto with the header "onnx-ml.pb.h", the package's
# folder NJU_ONNX_PACKAGE and the Python that has it, NJU_ONNX_PYTHON.

set(NJU_PYTHON "" CACHE FILEPATH
    "Python that has the onnx package (default: .venv/bin/python, then python3)")

# Sets `out` to the folder of the onnx package that `python` sees, or to "".
function(nju_find_onnx_package python out)
  set(${out} "" PARENT_SCOPE)
  execute_process(
    COMMAND ${python} -c "import importlib.util, os
spec = importlib.util.find_spec('onnx')
print(os.path.dirname(spec.origin) if spec and spec.origin else '')"
    OUTPUT_VARIABLE folder OUTPUT_STRIP_TRAILING_WHITESPACE
    ERROR_QUIET RESULT_VARIABLE status)
  if(status EQUAL 0 AND EXISTS "${folder}/onnx-ml.proto")
    set(${out} "${folder}" PARENT_SCOPE)
  endif()
endfunction()

set(nju_pythons ${CMAKE_SOURCE_DIR}/.venv/bin/python python3)
if(NJU_PYTHON)
  set(nju_pythons ${NJU_PYTHON})
endif()
foreach(python ${nju_pythons})
  nju_find_onnx_package(${python} NJU_ONNX_PACKAGE)
  if(NJU_ONNX_PACKAGE)
    set(NJU_ONNX_PYTHON ${python})
    break()
  endif()
endforeach()
if(NJU_ONNX_PACKAGE)
  message(STATUS "ONNX schema: ${NJU_ONNX_PACKAGE}/onnx-ml.proto")
else()
  message(FATAL_ERROR
    "no onnx Python package with an onnx-ml.proto found by: ${nju_pythons}. "
    "Run scripts/setup.sh, which installs it in .venv, or set NJU_PYTHON to a "
    "Python that has it (pip install onnx)")
endif()

set(nju_onnx_dir ${CMAKE_BINARY_DIR}/onnx)
file(MAKE_DIRECTORY ${nju_onnx_dir})
add_custom_command(
  OUTPUT ${nju_onnx_dir}/onnx-ml.pb.cc ${nju_onnx_dir}/onnx-ml.pb.h
  COMMAND protobuf::protoc --proto_path=${NJU_ONNX_PACKAGE}
          --cpp_out=${nju_onnx_dir} ${NJU_ONNX_PACKAGE}/onnx-ml.proto
  DEPENDS ${NJU_ONNX_PACKAGE}/onnx-ml.proto
  COMMENT "Generating the ONNX protobuf classes" VERBATIM)

add_library(NJUONNXProto STATIC ${nju_onnx_dir}/onnx-ml.pb.cc
                                ${nju_onnx_dir}/onnx-ml.pb.h)
target_compile_options(NJUONNXProto PRIVATE -w)
target_include_directories(NJUONNXProto SYSTEM PUBLIC ${nju_onnx_dir})
# The schema asks for the lite runtime.
target_link_libraries(NJUONNXProto PUBLIC protobuf::libprotobuf-lite)
