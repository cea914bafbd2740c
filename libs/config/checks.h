#pragma once

#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "libs/config/config.h"
#include "tributary/v1/config.pb.h"

// What must hold of a configuration that has been read: bounds again, where it was not read by us,
// and what concerns several options. Private to this library.

namespace tributary::config {

struct Place {
  std::string file;
  /// From 1. 0: not at a place in a file.
  int line = 0;
  int column = 0;
};

/// Problems, and where each option was set.
class Findings {
 public:
  Findings(std::string file, std::vector<Problem>& problems)
      : file_(std::move(file)), problems_(problems) {}

  const std::string& file() const { return file_; }
  void SetPlace(const std::string& path, Place place) { places_[path] = std::move(place); }
  /// Where the option was set, or the nearest enclosing thing that has a place.
  Place PlaceOf(std::string path) const;
  void Report(const Place& place, std::string message);
  /// True: something whose message begins so was reported.
  bool HasReported(std::string_view begin) const;
  /// Places in the file first, then environment and flags as they came.
  void Sort();

 private:
  const std::string file_;
  std::vector<Problem>& problems_;
  std::size_t left_out_ = 0;
  std::map<std::string, Place> places_;
};

/// Every option against its own rules.
void CheckFields(v1::ConfigFile& config, Findings& findings);
/// Options against each other. Removes slashes behind URLs.
void CheckTogether(const LoadOptions& options, v1::ConfigFile& config, Findings& findings);

}  // namespace tributary::config
