# SPDX-License-Identifier: Apache-2.0
# The two libraries that are installed, from the same objects as fattn_internal:
#   fattn_shared  libfattn.so.0, exports fattn_* only
#   fattn_static  libfattn.a, one object whose only global symbols are the public fattn_* functions
set(map ${PROJECT_SOURCE_DIR}/cmake/fattn.map)

add_library(fattn_shared SHARED ${map})
target_include_directories(fattn_shared INTERFACE
  $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
target_link_libraries(fattn_shared PRIVATE $<LINK_LIBRARY:WHOLE_ARCHIVE,fattn_internal>)
target_link_options(fattn_shared PRIVATE LINKER:--version-script=${map})
if(NOT FATTN_SANITIZE)
  target_link_options(fattn_shared PRIVATE LINKER:-z,defs LINKER:--as-needed)
endif()
set_target_properties(fattn_shared PROPERTIES OUTPUT_NAME fattn EXPORT_NAME fattn LINKER_LANGUAGE C
  VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR} LINK_DEPENDS ${map})
add_library(fattn::fattn ALIAS fattn_shared)

# A static library has no hidden visibility towards its user: join the objects, then make what is
# hidden local.
set(joined ${PROJECT_BINARY_DIR}/fattn.o)
add_custom_command(OUTPUT ${joined}
  COMMAND ${CMAKE_LINKER} -r --whole-archive $<TARGET_FILE:fattn_internal> -o ${joined}
  COMMAND ${CMAKE_OBJCOPY} --localize-hidden ${joined}
  DEPENDS fattn_internal VERBATIM COMMENT "Joining fattn.o")
set_source_files_properties(${joined} PROPERTIES EXTERNAL_OBJECT TRUE GENERATED TRUE)
add_library(fattn_static STATIC ${joined})
target_include_directories(fattn_static INTERFACE
  $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
target_link_libraries(fattn_static INTERFACE m Threads::Threads)
set_target_properties(fattn_static PROPERTIES OUTPUT_NAME fattn LINKER_LANGUAGE C)
add_library(fattn::fattn_static ALIAS fattn_static)
