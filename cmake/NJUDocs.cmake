# Op and pass reference, generated from the definitions into build/docs.
set(NJU_DOCS_DIR ${CMAKE_BINARY_DIR}/docs)
file(MAKE_DIRECTORY ${NJU_DOCS_DIR})

# nju_add_doc(NJUOps.md path/NJUOps.td -gen-op-doc ...)
function(nju_add_doc name source)
  set(input ${CMAKE_SOURCE_DIR}/include/nju/${source})
  file(GLOB inputs ${CMAKE_SOURCE_DIR}/include/nju/Dialect/*/IR/*.td)
  add_custom_command(OUTPUT ${NJU_DOCS_DIR}/${name}
    COMMAND ${LLVM_TOOLS_BINARY_DIR}/mlir-tblgen ${ARGN} ${input}
            -I ${CMAKE_SOURCE_DIR}/include -I ${MLIR_INCLUDE_DIRS} -o ${NJU_DOCS_DIR}/${name}
    DEPENDS ${input} ${inputs} VERBATIM)
  set_property(GLOBAL APPEND PROPERTY NJU_DOCS ${NJU_DOCS_DIR}/${name})
endfunction()

nju_add_doc(NJUOps.md Dialect/NJU/IR/NJUOps.td -gen-op-doc -dialect=nju)
nju_add_doc(ExecOps.md Dialect/Exec/IR/ExecOps.td -gen-op-doc -dialect=exec)
nju_add_doc(TransformsPasses.md Transforms/Passes.td -gen-pass-doc)
foreach(part Conversion Codegen Target)
  if(EXISTS ${CMAKE_SOURCE_DIR}/include/nju/${part}/Passes.td)
    nju_add_doc(${part}Passes.md ${part}/Passes.td -gen-pass-doc)
  endif()
endforeach()
get_property(docs GLOBAL PROPERTY NJU_DOCS)
add_custom_target(nju-docs ALL DEPENDS ${docs})
