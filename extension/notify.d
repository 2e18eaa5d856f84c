notify.o: notify.cpp guard.hpp module.hpp
guard.hpp:
module.hpp:
