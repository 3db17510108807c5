# SPDX-License-Identifier: Apache-2.0
# FATTN_BUILD_TESTS=AUTO becomes ON where everything that the tests need is there, OFF elsewhere;
# asked for with ON, what is missing is an error (tests/CMakeLists.txt).
if(FATTN_BUILD_TESTS STREQUAL AUTO)
  find_path(CMOCKA_INCLUDE_DIR cmocka.h)
  find_library(CMOCKA_LIBRARY cmocka)
  find_program(CXX_FOR_TESTS NAMES c++ g++ clang++)
  if(CMOCKA_INCLUDE_DIR AND CMOCKA_LIBRARY AND CXX_FOR_TESTS)
    set(FATTN_BUILD_TESTS ON)
  else()
    set(FATTN_BUILD_TESTS OFF)
    message(STATUS "cmocka or a C++ compiler not found: the tests are not built")
  endif()
endif()
