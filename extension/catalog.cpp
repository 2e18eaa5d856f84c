#include "guard.hpp"
#include "module.hpp"
void catalog_init() {}
