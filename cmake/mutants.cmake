# SPDX-License-Identifier: Apache-2.0
# -DFATTN_MUTANT=n breaks one place on purpose: the file that line n of the list names is compiled with
# FATTN_MUTANT=n, all others as usual, so that going from one mutant to the next rebuilds two files. Where
# it names a header, the whole library is.
set(FATTN_MUTANT 0 CACHE STRING "Line of tests/mutants/mutants.list to break; 0 = nothing")
if(NOT FATTN_MUTANT EQUAL 0)
  file(STRINGS ${CMAKE_SOURCE_DIR}/tests/mutants/mutants.list line REGEX "^${FATTN_MUTANT} ")
  if(NOT line)
    message(FATAL_ERROR "tests/mutants/mutants.list has no mutant ${FATTN_MUTANT}")
  endif()
  string(REGEX REPLACE "^[0-9]+ +([^ ]+) .*" "\\1" mutant_file "${line}")
  set(mutant_targets fattn_internal fattn_train)
  foreach(isa ${FATTN_ISAS})
    list(APPEND mutant_targets fattn_kernels_${isa} fattn_half_kernels_${isa})
  endforeach()
  foreach(target ${mutant_targets})
    if(NOT TARGET ${target})
      continue()
    endif()
    if(mutant_file MATCHES "[.]h$")
      target_compile_definitions(${target} PRIVATE FATTN_MUTANT=${FATTN_MUTANT})
    else()
      set_source_files_properties(${CMAKE_SOURCE_DIR}/${mutant_file} TARGET_DIRECTORY ${target}
                                  PROPERTIES COMPILE_DEFINITIONS FATTN_MUTANT=${FATTN_MUTANT})
    endif()
  endforeach()
endif()
