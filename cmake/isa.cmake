# SPDX-License-Identifier: Apache-2.0
# Instruction sets: each kernel file is compiled once per set, with FATTN_ISA_<SET> choosing what
# src/cpu/simd/vec.h means. No other file gets these flags, so nothing else can use what a machine lacks.
include(CheckCCompilerFlag)
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

# What fp16 arithmetic takes beside that; sets that are not named here have none, compilers may be too old for it.
set(FATTN_HALF_FLAGS_avx512 -mavx512fp16)
set(FATTN_HALF_FLAGS_neon -march=armv8.2-a+fp16)
if(CMAKE_C_COMPILER_ID STREQUAL GNU)
  set(half_tuning -fira-region=all)  # else it leaves the loads of half_pv's tile in memory, registers free or not
endif()
set(halves scalar)
foreach(isa ${FATTN_ISAS})
  if(FATTN_HALF_FLAGS_${isa})
    check_c_compiler_flag("${FATTN_HALF_FLAGS_${isa}}" FATTN_COMPILES_HALF_${isa})
    if(FATTN_COMPILES_HALF_${isa})
      list(APPEND halves ${isa})
    endif()
  endif()
endforeach()
set(FATTN_HALF_ISAS "${halves}" CACHE INTERNAL "instruction sets with fp16 arithmetic")

# Adds the files, compiled for the set, to TARGET; `library` is a name for them.
function(fattn_add_kernels target library isa flags)
  string(TOUPPER ${isa} name)
  add_library(${library} OBJECT ${ARGN})
  target_compile_definitions(${library} PRIVATE FATTN_ISA_${name})
  target_include_directories(${library} PRIVATE ${PROJECT_SOURCE_DIR}/src)
  target_compile_options(${library} PRIVATE ${flags})
  if(FATTN_SANITIZE)  # -O1 compiles in half the time; clang's UBSan takes minutes, gcc does that part
    target_compile_options(${library} PRIVATE -O1 $<$<C_COMPILER_ID:Clang>:-fno-sanitize=undefined>)
  endif()
  fattn_warnings(${library})
  target_sources(${target} PRIVATE $<TARGET_OBJECTS:${library}>)
endfunction()

# fattn_stamp(TARGET file...): adds the files to TARGET, once per set; tells TARGET and whoever links it
# which sets there are (FATTN_HAVE_<SET>).
function(fattn_stamp target)
  foreach(isa ${FATTN_ISAS})
    string(TOUPPER ${isa} name)
    fattn_add_kernels(${target} fattn_kernels_${isa} ${isa} "${FATTN_FLAGS_${isa}}" ${ARGN})
    target_compile_definitions(${target} PUBLIC FATTN_HAVE_${name})
  endforeach()
endfunction()

# The same for files in fp16 arithmetic, once per set that has it (FATTN_HAVE_HALF_<SET>).
function(fattn_stamp_half target)
  foreach(isa ${FATTN_HALF_ISAS})
    string(TOUPPER ${isa} name)
    fattn_add_kernels(${target} fattn_half_kernels_${isa} ${isa}
                      "${FATTN_FLAGS_${isa}};${FATTN_HALF_FLAGS_${isa}};${half_tuning}" ${ARGN})
    target_compile_definitions(${target} PUBLIC FATTN_HAVE_HALF_${name})
  endforeach()
endfunction()
