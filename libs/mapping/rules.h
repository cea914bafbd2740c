#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "libs/mapping/mapping.h"
#include "libs/mapping/view.h"
#include "tributary/v1/commands.pb.h"

namespace tributary::mapping {

/// One thing that a rule wants done.
struct Step {
  /// The rule's stable id and the place in its `do`, from 0.
  std::string rule;
  std::int32_t step = 0;
  std::string operation;
  std::vector<v1::Field> arguments;
  bool at_least_once = false;
  /// Not empty: the condition or an argument failed; nothing can be done but to show it.
  std::string error;
};

class Rules {
 public:
  /// As Mapping::Compile.
  static std::optional<Rules> Compile(std::string_view file, std::string_view yaml,
                                      std::vector<std::string>& problems,
                                      const TargetCheck& check = {});

  /// True: some rule begins with this event, whatever its condition says. Spares making the view.
  bool ListensTo(std::string_view event_key) const;
  /// Steps of all rules that hold, in the order of the file.
  std::vector<Step> Fire(std::string_view event_key, const EventView& view) const;

  struct Code;
  explicit Rules(std::shared_ptr<const Code> code) : code_(std::move(code)) {}

 private:
  std::shared_ptr<const Code> code_;
};

}  // namespace tributary::mapping
