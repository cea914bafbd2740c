#pragma once

#include <memory>

#include "services/control/catalogue.h"

namespace tributary::control {

/// The files that are compiled in, checked by the parsers of libs/connector and libs/mapping.
std::unique_ptr<Catalogue> MakeCatalogue();

}  // namespace tributary::control
