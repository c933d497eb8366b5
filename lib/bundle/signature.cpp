#include "bundle/signature.hpp"
