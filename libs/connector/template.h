#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "libs/json/value.h"

// Text with placeholders, `/contacts/{record.id}/notes`.

namespace tributary::connector {

/// Value of a placeholder, e.g. `fields.email`, `settings.location`, `marker`. None: it has none.
using Lookup = std::function<std::optional<json::Value>(std::string_view placeholder)>;

class Template {
 public:
  Template() = default;
  /// `{{` and `}}` are braces. Anything else in braces is a placeholder.
  static std::optional<Template> Parse(std::string_view text);

  bool empty() const { return parts_.empty(); }
  std::vector<std::string> placeholders() const;

  /// None: a placeholder has no value, or one that is no scalar; `missing` then names it.
  std::optional<std::string> Render(const Lookup& lookup, std::string* missing) const;
  /// The same with every value percent-encoded, for paths and queries.
  std::optional<std::string> RenderEncoded(const Lookup& lookup, std::string* missing) const;

 private:
  struct Part {
    bool is_placeholder = false;
    std::string text;
  };
  std::optional<std::string> Render(const Lookup& lookup, bool encode, std::string* missing) const;
  std::vector<Part> parts_;
};

/// Replaces the placeholders in all texts of a document. A text that is nothing but one placeholder
/// takes its value with its type. None: as Template::Render.
std::optional<json::Value> RenderBody(const json::Value& body, const Lookup& lookup,
                                      std::string* missing);

}  // namespace tributary::connector
