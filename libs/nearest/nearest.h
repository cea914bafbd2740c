#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace tributary {

/// The candidate that a person most likely meant: fewest edits, at most a third of the length of
/// `name` (and at least one). Empty: none is near. Of equally near ones the first.
std::string Nearest(std::string_view name, const std::vector<std::string>& candidates);

/// The end of a message about a `name` that is not known: ``; did you mean `NEAREST`?``. None is
/// near: `; ` and `otherwise`, or nothing where that is empty.
std::string DidYouMean(std::string_view name, const std::vector<std::string>& candidates,
                       const std::string& otherwise = "");

}  // namespace tributary
