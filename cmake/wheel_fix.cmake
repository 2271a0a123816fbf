# Two repairs for building against the ROS wheels of PyPI; on a ROS installation they find nothing to do. Deferred to
# the end of the top CMakeLists.txt, when all targets are known.
#
# 1. The wheels' exported targets carry include folders of the machine that they were built on (/opt/python/cpXYZ...).
#    Each one that does not exist here is replaced by this interpreter's own.
# 2. With the environment in the checkout (.venv), NumPy's include folder lies below the source folder, which CMake
#    refuses in an exported target. Only this build needs it.
function(_swiftvla_fix_includes target)
  get_target_property(_includes ${target} INTERFACE_INCLUDE_DIRECTORIES)
  if(NOT _includes)
    return()
  endif()
  set(_fixed "")
  foreach(_folder IN LISTS _includes)
    if(_folder MATCHES "^/opt/python/" AND NOT EXISTS "${_folder}")
      list(APPEND _fixed ${Python3_INCLUDE_DIRS})
    elseif(_folder MATCHES "^/.*/site-packages/numpy/")
      list(APPEND _fixed "$<BUILD_INTERFACE:${_folder}>")
    else()
      list(APPEND _fixed "${_folder}")
    endif()
  endforeach()
  set_target_properties(${target} PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${_fixed}")
endfunction()

function(_swiftvla_fix_targets)
  get_property(_imported DIRECTORY "${CMAKE_SOURCE_DIR}" PROPERTY IMPORTED_TARGETS)
  foreach(_target IN LISTS _imported)
    _swiftvla_fix_includes(${_target})
  endforeach()
  if(TARGET ${PROJECT_NAME}__rosidl_generator_py)
    _swiftvla_fix_includes(${PROJECT_NAME}__rosidl_generator_py)
  endif()
endfunction()
cmake_language(DEFER DIRECTORY "${CMAKE_SOURCE_DIR}" CALL _swiftvla_fix_targets)
