#include "bundle/blob_writer.hpp"
