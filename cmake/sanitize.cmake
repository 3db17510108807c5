# SPDX-License-Identifier: Apache-2.0
# FATTN_SANITIZE=address,undefined or =thread: every target of ours, compiled and linked with it.
if(FATTN_SANITIZE)
  add_compile_options(-fsanitize=${FATTN_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer -g)
  add_link_options(-fsanitize=${FATTN_SANITIZE})
endif()
