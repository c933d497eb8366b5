#include "oci/decoder.hpp"
