# SPDX-License-Identifier: Apache-2.0
# Instruction sets: each kernel file is compiled once per set, with FATTN_ISA_<SET> choosing what
# src/cpu/simd/vec.h means. No other file gets these flags, so nothing else can use what a machine lacks.
set(sets scalar)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$")
  list(APPEND sets avx2 avx512)
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64)$")
  list(APPEND sets neon)
endif()
set(FATTN_ISAS "${sets}" CACHE INTERNAL "instruction sets of this build")

set(FATTN_FLAGS_avx2 -mavx2 -mfma -mf16c)
set(FATTN_FLAGS_avx512 -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx2 -mfma -mf16c)
if(CMAKE_C_COMPILER_ID STREQUAL GNU)
  set(FATTN_FLAGS_neon -fno-schedule-insns)  # hoists the loads of a tile until its registers spill
endif()

# fattn_stamp(TARGET file...): adds the files to TARGET, once per set; tells TARGET and whoever links it
# which sets there are (FATTN_HAVE_<SET>).
function(fattn_stamp target)
  foreach(isa ${FATTN_ISAS})
    string(TOUPPER ${isa} name)
    add_library(fattn_kernels_${isa} OBJECT ${ARGN})
    target_compile_definitions(fattn_kernels_${isa} PRIVATE FATTN_ISA_${name})
    target_include_directories(fattn_kernels_${isa} PRIVATE ${PROJECT_SOURCE_DIR}/src)
    target_compile_options(fattn_kernels_${isa} PRIVATE ${FATTN_FLAGS_${isa}})
    if(FATTN_SANITIZE)  # -O1 compiles in half the time; clang's UBSan takes minutes, gcc does that part
      target_compile_options(fattn_kernels_${isa} PRIVATE -O1
                             $<$<C_COMPILER_ID:Clang>:-fno-sanitize=undefined>)
    endif()
    fattn_warnings(fattn_kernels_${isa})
    target_sources(${target} PRIVATE $<TARGET_OBJECTS:fattn_kernels_${isa}>)
    target_compile_definitions(${target} PUBLIC FATTN_HAVE_${name})
  endforeach()
endfunction()
