# LLVM and MLIR, and the wrappers that every compiler library uses. This is the
# only file that names their link targets: Debian ships static archives beside
# libMLIR.so, and a program that mixes both registers every pass twice.

# Debian's MLIRConfigVersion accepts MAJOR.MINOR only.
# Its packages do not install into a default prefix.
list(APPEND CMAKE_PREFIX_PATH /usr/lib/llvm-22)
find_package(MLIR 22.1 REQUIRED CONFIG)
find_package(Protobuf REQUIRED)
include(NJUONNX)

list(APPEND CMAKE_MODULE_PATH "${MLIR_CMAKE_DIR}" "${LLVM_CMAKE_DIR}")
include(TableGen)
include(AddLLVM)
include(AddMLIR)

include_directories(SYSTEM ${LLVM_INCLUDE_DIRS} ${MLIR_INCLUDE_DIRS})
include_directories(${CMAKE_SOURCE_DIR}/include ${CMAKE_BINARY_DIR}/include
                    ${CMAKE_SOURCE_DIR}/runtime/include)
add_definitions(${LLVM_DEFINITIONS})

set(NJU_COMPILER_FLAGS -fno-exceptions -Wno-unused-parameter)
if(NOT LLVM_ENABLE_RTTI)
  list(APPEND NJU_COMPILER_FLAGS -fno-rtti)
endif()

# One precompiled header with the MLIR headers that nearly every file needs.
add_library(nju_pch OBJECT ${CMAKE_SOURCE_DIR}/cmake/Precompiled.cpp)
target_compile_options(nju_pch PRIVATE ${NJU_COMPILER_FLAGS})
target_precompile_headers(nju_pch PRIVATE ${CMAKE_SOURCE_DIR}/cmake/Precompiled.h)
if(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
  # Without a time stamp the precompiled header is the same file every time.
  target_compile_options(nju_pch PRIVATE "SHELL:-Xclang -fno-pch-timestamp")
endif()

# nju_add_library(NJUFoo a.cpp b.cpp [DEPENDS target...] [LINK_LIBS lib...])
function(nju_add_library name)
  cmake_parse_arguments(arg "" "" "DEPENDS;LINK_LIBS" ${ARGN})
  add_library(${name} STATIC ${arg_UNPARSED_ARGUMENTS})
  target_compile_options(${name} PRIVATE ${NJU_COMPILER_FLAGS})
  target_precompile_headers(${name} REUSE_FROM nju_pch)
  if(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
    target_compile_options(${name} PRIVATE "SHELL:-Xclang -fno-pch-timestamp")
  endif()
  target_link_libraries(${name} PUBLIC ${arg_LINK_LIBS} MLIR LLVM)
  if(arg_DEPENDS)
    add_dependencies(${name} ${arg_DEPENDS})
  endif()
  set_property(GLOBAL APPEND PROPERTY NJU_LIBRARIES ${name})
endfunction()

# nju_add_tool(nju-opt nju-opt.cpp [LINK_LIBS lib...])
function(nju_add_tool name)
  cmake_parse_arguments(arg "" "" "LINK_LIBS" ${ARGN})
  add_executable(${name} ${arg_UNPARSED_ARGUMENTS})
  target_compile_options(${name} PRIVATE ${NJU_COMPILER_FLAGS})
  target_link_libraries(${name} PRIVATE ${arg_LINK_LIBS} MLIR LLVM)
  # LLVM may lie outside the folders that the loader searches, and the runtime
  # lies beside the tool.
  set_target_properties(${name} PROPERTIES INSTALL_RPATH
    "$ORIGIN/../${CMAKE_INSTALL_LIBDIR};${LLVM_LIBRARY_DIR}")
  install(TARGETS ${name} RUNTIME DESTINATION bin)
endfunction()

# nju_add_unittest(FooTests a.cpp [LINK_LIBS lib...])
function(nju_add_unittest name)
  cmake_parse_arguments(arg "" "" "LINK_LIBS" ${ARGN})
  add_executable(${name} ${arg_UNPARSED_ARGUMENTS})
  target_compile_options(${name} PRIVATE ${NJU_COMPILER_FLAGS})
  target_compile_definitions(${name} PRIVATE
    NJU_SHARED_DIR="${CMAKE_SOURCE_DIR}/../shared"
    NJU_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
  target_link_libraries(${name} PRIVATE ${arg_LINK_LIBS} GTest::gtest_main GTest::gtest MLIR LLVM)
  gtest_discover_tests(${name} DISCOVERY_TIMEOUT 60)
endfunction()
