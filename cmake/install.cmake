# SPDX-License-Identifier: Apache-2.0
# What `make install` lays down: both libraries, headers, fattn.pc, fattnConfig.cmake, and the command
# line with its man page and completion when it is built.
include(CMakePackageConfigHelpers)
set(config_dir ${CMAKE_INSTALL_LIBDIR}/cmake/fattn)

install(TARGETS fattn_shared fattn_static EXPORT fattnTargets
        LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY include/fattn DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN *.h)
install(EXPORT fattnTargets NAMESPACE fattn:: DESTINATION ${config_dir})

configure_package_config_file(cmake/fattnConfig.cmake.in ${PROJECT_BINARY_DIR}/fattnConfig.cmake
                              INSTALL_DESTINATION ${config_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/fattnConfigVersion.cmake
                                 COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/fattnConfig.cmake ${PROJECT_BINARY_DIR}/fattnConfigVersion.cmake
        DESTINATION ${config_dir})

# Below the prefix, unless the distribution gave an absolute folder.
foreach(kind LIBDIR INCLUDEDIR)
  set(pc_${kind} "\\\${prefix}/${CMAKE_INSTALL_${kind}}")
  if(IS_ABSOLUTE "${CMAKE_INSTALL_${kind}}")
    set(pc_${kind} "${CMAKE_INSTALL_${kind}}")
  endif()
endforeach()

# fattn.pc names its own prefix, which `cmake --install --prefix` may change: written at install time.
set(pc_vars "set(PROJECT_VERSION ${PROJECT_VERSION})
set(PROJECT_DESCRIPTION \"${PROJECT_DESCRIPTION}\")
cmake_path(ABSOLUTE_PATH CMAKE_INSTALL_PREFIX NORMALIZE)
set(FATTN_PC_LIBDIR \"${pc_LIBDIR}\")
set(FATTN_PC_INCLUDEDIR \"${pc_INCLUDEDIR}\")")
install(CODE "${pc_vars}
configure_file(\"${PROJECT_SOURCE_DIR}/cmake/fattn.pc.in\" \"${PROJECT_BINARY_DIR}/fattn.pc\" @ONLY)")
install(FILES ${PROJECT_BINARY_DIR}/fattn.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

# The man page and the completion come from the same option table as the help: the program prints them.
if(TARGET fattn_cli)
  set(man ${PROJECT_BINARY_DIR}/fattn.1)
  set(completion ${PROJECT_BINARY_DIR}/fattn.bash)
  add_custom_command(OUTPUT ${man} ${completion}
    COMMAND fattn_cli help-man > ${man}
    COMMAND fattn_cli completions bash > ${completion}
    DEPENDS fattn_cli COMMENT "Writing the man page and the completion")
  add_custom_target(fattn_manual ALL DEPENDS ${man} ${completion})
  install(TARGETS fattn_cli RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
  install(FILES ${man} DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
  install(FILES ${completion} DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions
          RENAME fattn)
endif()
