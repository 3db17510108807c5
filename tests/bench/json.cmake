# SPDX-License-Identifier: Apache-2.0
# json.cmake — `fattn bench --json` prints one object with exactly the promised keys.
# cmake -DFATTN=program -P json.cmake
execute_process(COMMAND ${FATTN} bench --suite decode --only "decode-32/8x128-kv4096-b1-p64"
                        --dtype f16 --runs 1 --threads 2 --json
                OUTPUT_VARIABLE text ERROR_VARIABLE errors RESULT_VARIABLE code)
if(NOT code EQUAL 0)
  message(FATAL_ERROR "exit ${code}: ${errors}")
endif()

function(expect_keys object)
  string(JSON n LENGTH "${object}")
  set(keys "")
  math(EXPR last "${n} - 1")
  foreach(i RANGE ${last})
    string(JSON key MEMBER "${object}" ${i})
    list(APPEND keys ${key})
  endforeach()
  set(expected ${ARGN})
  list(SORT keys)
  list(SORT expected)
  if(NOT keys STREQUAL expected)
    message(FATAL_ERROR "keys ${keys}\nexpected ${expected}")
  endif()
endfunction()

function(expect object key value)
  string(JSON got GET "${object}" ${key})
  if(NOT got STREQUAL value)
    message(FATAL_ERROR "${key} is ${got}, expected ${value}")
  endif()
endfunction()

function(expect_type object key type)
  string(JSON got TYPE "${object}" ${key})
  if(NOT got STREQUAL type)
    message(FATAL_ERROR "${key} is ${got}, expected ${type}")
  endif()
endfunction()

expect_keys("${text}" machine isa threads compute rows)
expect("${text}" threads 2)
string(JSON n LENGTH "${text}" rows)
if(NOT n EQUAL 1)
  message(FATAL_ERROR "${n} rows, expected 1")
endif()
string(JSON row GET "${text}" rows 0)
expect_keys("${row}" suite name dtype runs ms best_ms gflops peak_gflops gbps peak_gbps fraction
            standard_ms ratio extra_bytes standard_bytes)
expect("${row}" suite decode)
expect("${row}" name "decode-32/8x128-kv4096-b1-p64")
expect("${row}" dtype f16)
expect("${row}" runs 1)
expect_type("${row}" ms NUMBER)
expect_type("${row}" best_ms NUMBER)
expect_type("${row}" gflops NUMBER)
expect_type("${row}" gbps NUMBER)
expect_type("${row}" peak_gbps NUMBER)
expect_type("${row}" peak_gflops NULL)
expect_type("${row}" extra_bytes NUMBER)

# A row of `quant` also has its error, its bytes and f16's time over its own. int8: a byte per number and an fp32 per
# token; the answer lies within fp16's rounding of the dequantised one, and far from it of what was lost.
execute_process(COMMAND ${FATTN} bench --suite quant --only "decode-32/8x128-kv4096-b1-int8-token"
                        --runs 1 --json
                OUTPUT_VARIABLE text ERROR_VARIABLE errors RESULT_VARIABLE code)
if(NOT code EQUAL 0)
  message(FATAL_ERROR "exit ${code}: ${errors}")
endif()
string(JSON row GET "${text}" rows 0)
expect_keys("${row}" suite name dtype runs ms best_ms gflops peak_gflops gbps peak_gbps fraction
            standard_ms ratio f16_ratio kv_bytes err_unquantised err_dequantised extra_bytes standard_bytes)
expect("${row}" kv_bytes 8421376)
expect_type("${row}" f16_ratio NUMBER)
string(JSON lost GET "${row}" err_unquantised)
string(JSON ours GET "${row}" err_dequantised)
if(NOT ours LESS 0.0005 OR NOT lost GREATER 0.002 OR NOT lost LESS 0.05)
  message(FATAL_ERROR "errors ${lost} and ${ours}")
endif()

# Rows of `modes` have no figures of their own; the ratio is against the unmasked call, where there is one, and absent
# where that is not wanted. fp16: the bytes of the workspace are a fraction of a score matrix's, 134 MB.
execute_process(COMMAND ${FATTN} bench --suite modes --only "16x128x2048-b1-[abm]*" --dtype f16 --runs 1 --json
                OUTPUT_VARIABLE text ERROR_VARIABLE errors RESULT_VARIABLE code)
if(NOT code EQUAL 0)
  message(FATAL_ERROR "exit ${code}: ${errors}")
endif()
string(JSON n LENGTH "${text}" rows)
if(NOT n EQUAL 3)
  message(FATAL_ERROR "${n} rows, expected 3")
endif()
set(names band256 mask alibi)
foreach(i RANGE 2)
  string(JSON row GET "${text}" rows ${i})
  list(GET names ${i} name)
  expect_keys("${row}" suite name dtype runs ms best_ms gflops peak_gflops gbps peak_gbps fraction
              standard_ms ratio extra_bytes standard_bytes)
  expect("${row}" suite modes)
  expect("${row}" name "16x128x2048-b1-${name}")
  expect("${row}" runs 1)
  foreach(key ms best_ms gflops peak_gflops fraction extra_bytes)
    expect_type("${row}" ${key} NUMBER)
  endforeach()
  set(opponent NUMBER)
  if(name STREQUAL "band256")
    set(opponent NULL)
  endif()
  foreach(key standard_ms ratio)
    expect_type("${row}" ${key} ${opponent})
  endforeach()
  expect_type("${row}" gbps NULL)
  string(JSON bytes GET "${row}" extra_bytes)
  if(NOT bytes GREATER 0 OR NOT bytes LESS 8000000)
    message(FATAL_ERROR "${name}: extra_bytes ${bytes}")
  endif()
endforeach()
execute_process(COMMAND ${FATTN} bench --suite modes --only "*-mask" --runs 1 --no-standard --json
                OUTPUT_VARIABLE text ERROR_VARIABLE errors RESULT_VARIABLE code)
string(JSON row GET "${text}" rows 0)
expect_type("${row}" ratio NULL)

# Narrower values: the bytes of keys and values count both dims.
execute_process(COMMAND ${FATTN} bench --suite dims --only "16x192/128x2048-b1" --runs 1 --no-standard --json
                OUTPUT_VARIABLE text ERROR_VARIABLE errors RESULT_VARIABLE code)
if(NOT code EQUAL 0)
  message(FATAL_ERROR "exit ${code}: ${errors}")
endif()
string(JSON row GET "${text}" rows 0)
expect_keys("${row}" suite name dtype runs ms best_ms gflops peak_gflops gbps peak_gbps fraction
            standard_ms ratio extra_bytes standard_bytes)
expect("${row}" suite dims)
expect_type("${row}" fraction NUMBER)
expect_type("${row}" standard_ms NULL)

# Memory does not grow with the square of the length, and with a band not with the length at all.
execute_process(COMMAND ${FATTN} bench --suite scaling --only "8x64x[14]0[29][46]-*" --dtype f16 --runs 1
                        --no-standard --json
                OUTPUT_VARIABLE text ERROR_VARIABLE errors RESULT_VARIABLE code)
if(NOT code EQUAL 0)
  message(FATAL_ERROR "exit ${code}: ${errors}")
endif()
string(JSON n LENGTH "${text}" rows)
if(NOT n EQUAL 4)
  message(FATAL_ERROR "${n} rows, expected 4")
endif()
set(names 1024-b1-causal 4096-b1-causal 1024-b1-band1024 4096-b1-band1024)
foreach(i RANGE 3)
  string(JSON row GET "${text}" rows ${i})
  list(GET names ${i} name)
  expect_keys("${row}" suite name dtype runs ms best_ms gflops peak_gflops gbps peak_gbps fraction
              standard_ms ratio extra_bytes standard_bytes)
  expect("${row}" suite scaling)
  expect("${row}" name "8x64x${name}")
  expect_type("${row}" gflops NUMBER)
  expect_type("${row}" standard_bytes NULL)
  string(JSON bytes${i} GET "${row}" extra_bytes)
endforeach()
math(EXPR most "4 * ${bytes0}")
if(bytes1 GREATER most OR bytes3 GREATER most OR NOT bytes0 GREATER 0)
  message(FATAL_ERROR "extra_bytes ${bytes0}, ${bytes1}, ${bytes2}, ${bytes3}")
endif()

# fp16 arithmetic is measured where the processor has it; elsewhere the row has no figures and the bench does not fail.
execute_process(COMMAND ${FATTN} bench --suite modes --only *f16arith --runs 1 --json
                OUTPUT_VARIABLE text ERROR_VARIABLE errors RESULT_VARIABLE code)
if(NOT code EQUAL 0)
  message(FATAL_ERROR "exit ${code}: ${errors}")
endif()
string(JSON row GET "${text}" rows 0)
string(JSON dtype GET "${row}" dtype)
string(JSON type TYPE "${row}" ms)
if(NOT dtype STREQUAL f16 OR NOT (type STREQUAL NUMBER OR errors MATCHES "fp16 arithmetic"))
  message(FATAL_ERROR "row ${row}, errors ${errors}")
endif()

# A row of `call` has times of its own; what does not apply is null. Bad values are usage errors.
execute_process(COMMAND ${FATTN} bench --suite call --only plan256 --json
                OUTPUT_VARIABLE text ERROR_VARIABLE errors RESULT_VARIABLE code)
if(NOT code EQUAL 0)
  message(FATAL_ERROR "exit ${code}: ${errors}")
endif()
string(JSON row GET "${text}" rows 0)
expect_keys("${row}" suite name dtype runs ms best_ms gflops peak_gflops gbps peak_gbps fraction
            standard_ms ratio plan_us call_us extra_bytes standard_bytes)
expect_type("${row}" plan_us NUMBER)
expect_type("${row}" call_us NULL)
expect_type("${row}" ms NULL)
expect_type("${row}" runs NULL)
foreach(bad "--only;nothing" "--runs;0" "--suite;nonsense" "--dtype;i8" "--compute;bf16")
  execute_process(COMMAND ${FATTN} bench ${bad} OUTPUT_QUIET ERROR_QUIET RESULT_VARIABLE code)
  if(NOT code EQUAL 64)
    message(FATAL_ERROR "bench ${bad}: exit ${code}, expected 64")
  endif()
endforeach()
