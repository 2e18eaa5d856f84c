catalog.o: catalog.cpp guard.hpp module.hpp
guard.hpp:
module.hpp:
