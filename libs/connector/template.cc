#include "libs/connector/template.h"

#include "libs/ids/keys.h"

namespace tributary::connector {
namespace {

std::optional<std::string> TextOf(const json::Value& value) {
  if (const bool* boolean = value.boolean()) return std::string(*boolean ? "true" : "false");
  return value.ToIdText();
}

}  // namespace

std::optional<Template> Template::Parse(std::string_view text) {
  Template result;
  std::string literal;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if ((c == '{' || c == '}') && i + 1 < text.size() && text[i + 1] == c) {
      literal += c;
      ++i;
    } else if (c == '}') {
      return std::nullopt;
    } else if (c == '{') {
      const std::size_t end = text.find('}', i);
      if (end == std::string_view::npos || end == i + 1) return std::nullopt;
      if (!literal.empty()) result.parts_.push_back({false, literal});
      literal.clear();
      result.parts_.push_back({true, std::string(text.substr(i + 1, end - i - 1))});
      i = end;
    } else {
      literal += c;
    }
  }
  if (!literal.empty()) result.parts_.push_back({false, literal});
  return result;
}

std::vector<std::string> Template::placeholders() const {
  std::vector<std::string> names;
  for (const Part& part : parts_) {
    if (part.is_placeholder) names.push_back(part.text);
  }
  return names;
}

std::optional<std::string> Template::Render(const Lookup& lookup, bool encode,
                                            std::string* missing) const {
  std::string out;
  for (const Part& part : parts_) {
    if (!part.is_placeholder) {
      out += part.text;
      continue;
    }
    const std::optional<json::Value> value = lookup(part.text);
    const std::optional<std::string> text = value ? TextOf(*value) : std::nullopt;
    if (!text) {
      if (missing != nullptr) *missing = part.text;
      return std::nullopt;
    }
    out += encode ? ids::EncodePart(*text) : *text;
  }
  return out;
}

std::optional<std::string> Template::Render(const Lookup& lookup, std::string* missing) const {
  return Render(lookup, false, missing);
}

std::optional<std::string> Template::RenderEncoded(const Lookup& lookup,
                                                   std::string* missing) const {
  return Render(lookup, true, missing);
}

std::optional<json::Value> RenderBody(const json::Value& body, const Lookup& lookup,
                                      std::string* missing) {
  if (const std::string* text = body.string()) {
    const std::optional<Template> parsed = Template::Parse(*text);
    if (!parsed) return body;
    const std::vector<std::string> names = parsed->placeholders();
    if (names.empty()) return body;
    if (names.size() == 1 && *text == "{" + names[0] + "}") {
      std::optional<json::Value> value = lookup(names[0]);
      if (!value && missing != nullptr) *missing = names[0];
      return value;
    }
    std::optional<std::string> rendered = parsed->Render(lookup, missing);
    if (!rendered) return std::nullopt;
    return json::Value(std::move(*rendered));
  }
  if (const json::Array* array = body.array()) {
    json::Array out;
    for (const json::Value& item : *array) {
      std::optional<json::Value> rendered = RenderBody(item, lookup, missing);
      if (!rendered) return std::nullopt;
      out.push_back(std::move(*rendered));
    }
    return json::Value(std::move(out));
  }
  if (const json::Object* object = body.object()) {
    json::Object out;
    for (const auto& [name, value] : *object) {
      std::optional<json::Value> rendered = RenderBody(value, lookup, missing);
      if (!rendered) return std::nullopt;
      out.emplace_back(name, std::move(*rendered));
    }
    return json::Value(std::move(out));
  }
  return body;
}

}  // namespace tributary::connector
