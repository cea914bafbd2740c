#include "services/control/catalogue_files.h"

#include <map>
#include <optional>
#include <sstream>
#include <utility>

#include "absl/status/statusor.h"

#include "libs/connector/connector.h"
#include "libs/mapping/mapping.h"
#include "libs/mapping/rules.h"
#include "libs/nearest/nearest.h"

namespace tributary::control {
namespace {

using connector::Connector;

std::vector<std::string> Lines(std::string_view text) {
  std::vector<std::string> lines;
  std::istringstream stream{std::string(text)};
  for (std::string line; std::getline(stream, line);) {
    lines.push_back(line);
  }
  return lines;
}

template <typename Map>
std::string Unknown(const char* what, std::string_view name, const Map& known) {
  std::vector<std::string> names;
  for (const auto& [known_name, value] : known) {
    names.push_back(known_name);
  }
  return std::string("the target has no ") + what + " `" + std::string(name) + "`" +
         DidYouMean(name, names);
}

// What a mapping and rules may ask of a target.
mapping::TargetCheck CheckAgainst(const Connector& connector) {
  return {
      .field =
          [&connector](std::string_view object, std::string_view path) {
            const connector::Object* const found = connector.FindObject(object);
            return found == nullptr ? std::string() : found->CheckField(path);
          },
      .object =
          [&connector](std::string_view object) {
            return connector.FindObject(object) == nullptr
                       ? Unknown("object", object, connector.objects)
                       : std::string();
          },
      .operation =
          [&connector](std::string_view operation, const std::vector<std::string>& arguments) {
            const connector::ActionOperation* const found = connector.FindAction(operation);
            if (found == nullptr) {
              return Unknown("operation", operation, connector.actions);
            }
            std::map<std::string, bool> known;
            for (const std::string& name : found->arguments) {
              known[name] = true;
            }
            for (const std::string& name : found->optional_arguments) {
              known[name] = false;
            }
            for (const std::string& argument : arguments) {
              if (known.erase(argument) == 0) {
                return Unknown("argument", argument, known);
              }
            }
            for (const auto& [name, is_required] : known) {
              if (is_required) {
                return "the argument `" + name + "` is missing";
              }
            }
            return std::string();
          },
  };
}

class FileCatalogue : public Catalogue {
 public:
  FileCatalogue() {
    for (const std::string& integration : integrations()) {
      if (integration != "rest") {
        Add(connector_files_, integration, integration + ".yaml");
      }
      Add(mappings_, integration, integration + ".mapping.yaml");
      Add(rules_, integration, integration + ".rules.yaml");
    }
  }

  std::vector<std::string> integrations() const override {
    return {"chargify", "highlevel", "rest"};
  }
  const NamedFile* DefaultConnectorFile(std::string_view integration) const override {
    return Find(connector_files_, integration);
  }
  const NamedFile* DefaultMapping(std::string_view integration) const override {
    return Find(mappings_, integration);
  }
  const NamedFile* DefaultRules(std::string_view integration) const override {
    return Find(rules_, integration);
  }

  std::vector<std::string> CheckConnection(const v1::Connection& connection,
                                           const NamedFile* connector_file) const override {
    if (connector_file == nullptr) {
      return {};
    }
    const absl::StatusOr<Connector> parsed =
        Connector::Parse(connector_file->name, connector_file->content);
    if (!parsed.ok()) {
      return Lines({parsed.status().message().data(), parsed.status().message().size()});
    }
    std::vector<std::string> problems;
    if (parsed->integration != connection.integration()) {
      problems.push_back(connector_file->name + ":1:1: error: is of integration `" +
                         parsed->integration + "`, and connection " + connection.name() +
                         " is of `" + connection.integration() + "`");
    }
    if (connection.url().empty() && parsed->base_url.empty()) {
      problems.push_back("connection " + connection.name() +
                         ": `url` must be set: the connector file names none");
    }
    const std::map<std::string, std::string> settings(connection.settings().begin(),
                                                      connection.settings().end());
    for (const std::string& problem : parsed->CheckSettings(settings)) {
      problems.push_back("connection " + connection.name() + ": " + problem);
    }
    return problems;
  }

  std::vector<std::string> CheckSync(const NamedFile& mapping, const NamedFile& rules,
                                     const NamedFile* connector_file) const override {
    std::optional<Connector> connector;
    if (connector_file != nullptr) {
      absl::StatusOr<Connector> parsed =
          Connector::Parse(connector_file->name, connector_file->content);
      if (!parsed.ok()) {
        // Told with its connection.
        return {};
      }
      connector = *std::move(parsed);
    }
    const mapping::TargetCheck check =
        connector ? CheckAgainst(*connector) : mapping::TargetCheck();
    std::vector<std::string> problems;
    static_cast<void>(mapping::Mapping::Compile(mapping.name, mapping.content, problems, check));
    if (!rules.content.empty()) {
      static_cast<void>(mapping::Rules::Compile(rules.name, rules.content, problems, check));
    }
    return problems;
  }

  std::vector<std::string> CredentialFieldNames(const v1::Connection& connection,
                                                const NamedFile* connector_file) const override {
    if (connector_file == nullptr) {
      return connection.integration() == "chargify" ? std::vector<std::string>{"api_key"}
                                                    : std::vector<std::string>{};
    }
    const absl::StatusOr<Connector> parsed =
        Connector::Parse(connector_file->name, connector_file->content);
    return parsed.ok() ? parsed->credentials : std::vector<std::string>{};
  }

 private:
  using Files = std::map<std::string, NamedFile, std::less<>>;

  static void Add(Files& files, const std::string& integration, const std::string& name) {
    if (const std::string* const content = connector::BuiltinFile(name)) {
      files[integration] = {name, *content};
    }
  }
  static const NamedFile* Find(const Files& files, std::string_view integration) {
    const auto found = files.find(integration);
    return found == files.end() ? nullptr : &found->second;
  }

  Files connector_files_;
  Files mappings_;
  Files rules_;
};

}  // namespace

std::unique_ptr<Catalogue> MakeCatalogue() { return std::make_unique<FileCatalogue>(); }

}  // namespace tributary::control
