#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace tributary::config {

/// The candidate that a person most likely meant: fewest edits, at most a third of the length of
/// `name` (and at least one). Empty: none is near. Of equally near ones the first.
std::string Nearest(std::string_view name, const std::vector<std::string>& candidates);

}  // namespace tributary::config
