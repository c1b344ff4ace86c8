# Every library that the project stands on, all of them Debian packages (tools/install-packages.sh lists the names).
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
find_package(MPI REQUIRED COMPONENTS C)
find_package(ZLIB REQUIRED)
pkg_check_modules(OPENBLAS REQUIRED IMPORTED_TARGET openblas)
pkg_check_modules(HDF5 REQUIRED IMPORTED_TARGET hdf5-serial) # by this name: the MPI build of HDF5 must never be linked too
pkg_check_modules(IMAGES REQUIRED IMPORTED_TARGET libjpeg libpng libwebp)
pkg_check_modules(FONTS REQUIRED IMPORTED_TARGET freetype2 harfbuzz)
pkg_check_modules(TEXTLIBS REQUIRED IMPORTED_TARGET jansson yaml-0.1 libxxhash)
find_library(UTF8PROC_LIBRARY utf8proc REQUIRED)
if(CM3_TESTS)
  pkg_check_modules(TESTLIBS REQUIRED IMPORTED_TARGET cmocka libpcre2-8) # PCRE2 judges our scanner of text
endif()
