# SPDX-License-Identifier: Apache-2.0
# The warnings every target of ours is clean under, gcc and clang.
function(fattn_warnings target)
  target_compile_options(${target} PRIVATE -Wall -Wextra -Wshadow -Wconversion -ffp-contract=off)
  if(FATTN_WERROR)
    target_compile_options(${target} PRIVATE -Werror)
  endif()
endfunction()
