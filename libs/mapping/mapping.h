#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "libs/mapping/view.h"
#include "tributary/v1/commands.pb.h"

// A mapping is a pure function of a view. It is compiled from YAML once; the file's form is in
// README.md.

namespace tributary::mapping {

/// What the target of a sync takes. Empty functions: anything.
struct TargetCheck {
  /// Empty: the object may have that field. Else why not.
  std::function<std::string(std::string_view object, std::string_view path)> field;
  /// Empty: there is such an object.
  std::function<std::string(std::string_view object)> object;
  /// Empty: there is such an operation, and it takes these arguments.
  std::function<std::string(std::string_view operation, const std::vector<std::string>& arguments)>
      operation;
};

/// What one record should look like, or why that could not be found out.
struct DesiredRecord {
  v1::DesiredState state;
  /// Field, place in the mapping, and reason. Not empty: `state` has its object and nothing else.
  std::string error;
};

class Mapping {
 public:
  /// None: `problems` has all that is wrong, each `FILE:LINE:COL: error: …` with the line and a
  /// caret below.
  static std::optional<Mapping> Compile(std::string_view file, std::string_view yaml,
                                        std::vector<std::string>& problems,
                                        const TargetCheck& check = {});

  /// Names of the objects, in the order of the file; each view yields one record of each.
  std::vector<std::string> objects() const;
  std::size_t object_count() const;
  const std::string& object(std::size_t index) const;
  /// One for each object. A customer that the sync does not want is `unwanted` there.
  std::vector<DesiredRecord> Apply(const View& view) const;
  /// The one of object number `index`, into `state`, which is empty. Returns the error of a
  /// DesiredRecord.
  std::string ApplyTo(const View& view, std::size_t index, v1::DesiredState& state) const;

  struct Code;
  explicit Mapping(std::shared_ptr<const Code> code) : code_(std::move(code)) {}

 private:
  std::shared_ptr<const Code> code_;
};

}  // namespace tributary::mapping
