# Compiler flags that every part of the project shares.

add_compile_options(-Wall -Wextra -Wno-unused-parameter
                    -Werror=deprecated-declarations -Werror=return-type)
if(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
  add_compile_options(-fcolor-diagnostics)
endif()

if(NJU_SANITIZE)
  add_compile_options(-fsanitize=${NJU_SANITIZE} -fno-omit-frame-pointer
                      -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${NJU_SANITIZE})
  if(NJU_SANITIZE MATCHES "address")
    add_library(nju_sanitizer_options OBJECT
      ${CMAKE_CURRENT_LIST_DIR}/SanitizerOptions.c)
    link_libraries($<$<STREQUAL:$<TARGET_PROPERTY:TYPE>,EXECUTABLE>:$<TARGET_OBJECTS:nju_sanitizer_options>>)
  endif()
endif()

find_program(NJU_CCACHE ccache)
if(NJU_CCACHE)
  # A precompiled header is cached only if its defines and times are ignored.
  set(ccache_command ${CMAKE_COMMAND} -E env
      CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime
      ${NJU_CCACHE})
  set(CMAKE_C_COMPILER_LAUNCHER ${ccache_command})
  set(CMAKE_CXX_COMPILER_LAUNCHER ${ccache_command})
endif()

# lld links our programs in a fraction of the time that bfd takes.
find_program(NJU_LLD NAMES ld.lld-22 ld.lld)
if(NJU_LLD AND CMAKE_CXX_COMPILER_ID MATCHES "Clang")
  add_link_options(-fuse-ld=lld)
endif()
