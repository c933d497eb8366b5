#include "bundle/trust.hpp"
