# SPDX-License-Identifier: Apache-2.0
# The benchmark without its verb, for the command line, the demo and the tests. bench_simd.c is
# compiled once per instruction set, fully optimised: the opponent's softmax and the machine's peak.
include(${PROJECT_SOURCE_DIR}/cmake/isa.cmake)

add_library(fattn_bench STATIC bench_case.c bench_measure.c bench_modes.c bench_pool.c bench_probe.c bench_quant.c bench_rows.c
            bench_serving_rows.c bench_simd_list.c bench_table.c standard.c standard_backward.c)
target_include_directories(fattn_bench PUBLIC ${CMAKE_CURRENT_SOURCE_DIR}
                           ${PROJECT_SOURCE_DIR}/include)
target_compile_definitions(fattn_bench PRIVATE _GNU_SOURCE)
target_link_libraries(fattn_bench PUBLIC fattn_io fattn_internal m Threads::Threads)
fattn_warnings(fattn_bench)

# Bytes of a vector and multiply-adds that its registers hold.
set(BENCH_SHAPE_scalar 16 12)
set(BENCH_SHAPE_avx2 32 12)
set(BENCH_SHAPE_avx512 64 16)
set(BENCH_SHAPE_neon 16 24)
foreach(isa ${FATTN_ISAS})
  list(GET BENCH_SHAPE_${isa} 0 vector)
  list(GET BENCH_SHAPE_${isa} 1 chains)
  add_library(fattn_bench_${isa} OBJECT bench_simd.c)
  fattn_warnings(fattn_bench_${isa})
  target_compile_definitions(fattn_bench_${isa} PRIVATE BENCH_ISA=${isa} BENCH_VECTOR=${vector}
                             BENCH_CHAINS=${chains})
  target_compile_options(fattn_bench_${isa} PRIVATE ${FATTN_FLAGS_${isa}} -O3 -ffp-contract=fast)
  target_sources(fattn_bench PRIVATE $<TARGET_OBJECTS:fattn_bench_${isa}>)
  string(APPEND bench_isas " X(${isa})")
endforeach()
set_property(SOURCE bench_simd_list.c APPEND
             PROPERTY COMPILE_DEFINITIONS "BENCH_ISAS=${bench_isas}")
