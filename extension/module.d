module.o: module.cpp guard.hpp module.hpp
guard.hpp:
module.hpp:
