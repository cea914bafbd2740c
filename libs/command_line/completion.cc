#include "libs/command_line/completion.h"

#include <algorithm>

namespace tributary::command_line {
namespace {

enum class ValueKind { kNone, kText, kFile, kDirectory, kChoice };

ValueKind KindOf(const Option& option) {
  if (!option.choices.empty()) {
    return ValueKind::kChoice;
  }
  const std::string& value =
      option.names.front().starts_with('-') ? option.value : option.names.front();
  if (value.empty()) {
    return ValueKind::kNone;
  }
  if (value == "FILE" || value == "F") {
    return ValueKind::kFile;
  }
  return value == "DIR" ? ValueKind::kDirectory : ValueKind::kText;
}

// One command as a shell sees it: where one is, and what may follow there.
struct Place {
  /// `tributary parked list`.
  std::string path;
  const Command* command;
  /// Its own and those of the commands above that pass theirs down.
  std::vector<const Option*> options;
};

void AddPlaces(const Command& command, const std::string& above,
               const std::vector<const Option*>& inherited, std::vector<Place>& places) {
  Place place{.path = above.empty() ? command.name : above + " " + command.name,
              .command = &command};
  for (const Option& option : command.options) {
    place.options.push_back(&option);
  }
  for (const Option* option : inherited) {
    if (std::none_of(place.options.begin(), place.options.end(), [&](const Option* own) {
          return own->names.back() == option->names.back();
        })) {
      place.options.push_back(option);
    }
  }
  const Place here = place;
  places.push_back(std::move(place));
  for (const Command& below : command.commands) {
    AddPlaces(below, here.path,
              below.takes_options_above ? here.options : std::vector<const Option*>(), places);
  }
}

std::vector<Place> PlacesOf(const Command& command) {
  std::vector<Place> places;
  AddPlaces(command, "", {}, places);
  return places;
}

std::string Joined(const std::vector<std::string>& words, const std::string& between) {
  std::string text;
  for (const std::string& word : words) {
    text += (text.empty() ? "" : between) + word;
  }
  return text;
}

std::string Quoted(const std::string& text) {
  std::string quoted = "'";
  for (const char c : text) {
    quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  }
  return quoted + "'";
}

// Every `PATH OPTION` whose value is the next word, as patterns of `case`.
std::string OptionsWithValues(const std::vector<Place>& places, const std::string& between) {
  std::vector<std::string> patterns;
  for (const Place& place : places) {
    for (const Option* option : place.options) {
      if (KindOf(*option) == ValueKind::kNone) {
        continue;
      }
      for (const std::string& name : option->names) {
        patterns.push_back(Quoted(place.path + " " + name));
      }
    }
  }
  return Joined(patterns, between);
}

// Every command below the first one.
std::string Paths(const std::vector<Place>& places, const std::string& between) {
  std::vector<std::string> patterns;
  for (std::size_t i = 1; i < places.size(); ++i) {
    patterns.push_back(Quoted(places[i].path));
  }
  return Joined(patterns, between);
}

// How bash and zsh walk the words to the command that is being written. `at` is its path, `option`
// the option whose value comes next.
std::string Walk(const std::vector<Place>& places, const std::string& words) {
  std::string text = "  for word in " + words + "; do\n";
  text +=
      "    if [[ -n $option ]]; then\n"
      "      # `--data=DIR` is three words in bash.\n"
      "      [[ $word == = ]] || option=\n"
      "      continue\n"
      "    fi\n";
  text += "    case \"$at $word\" in\n      " + Paths(places, " | ") + ") at=\"$at $word\" ;;\n";
  const std::string with_values = OptionsWithValues(places, " | ");
  if (!with_values.empty()) {
    text += "      " + with_values + ") option=$word ;;\n";
  }
  return text + "    esac\n  done\n";
}

struct Values {
  std::string file;
  std::string directory;
  /// Around the choices.
  std::string choice_before;
  std::string choice_after;
};

// Cases of `PATH OPTION` and, for what is told apart by its place, of `PATH`.
std::string ValueCases(const std::vector<Place>& places, const Values& values) {
  std::string text;
  const auto add = [&](const std::string& pattern, const Option& option) {
    switch (KindOf(option)) {
      case ValueKind::kFile:
        text += "    " + pattern + ") " + values.file + " ;;\n";
        return;
      case ValueKind::kDirectory:
        text += "    " + pattern + ") " + values.directory + " ;;\n";
        return;
      case ValueKind::kChoice:
        text += "    " + pattern + ") " + values.choice_before + Joined(option.choices, " ") +
                values.choice_after + " ;;\n";
        return;
      default:
        return;
    }
  };
  for (const Place& place : places) {
    for (const Option* option : place.options) {
      for (const std::string& name : option->names) {
        add(Quoted(place.path + " " + name), *option);
      }
    }
    // One suffices: none of our commands mixes kinds.
    if (!place.command->arguments.empty()) {
      add(Quoted(place.path + " "), place.command->arguments.front());
    }
  }
  return text;
}

std::string Bash(const std::vector<Place>& places) {
  const std::string name = places.front().path;
  std::string text =
      "# Completion of " + name + " for bash, made from the program's own help.\n_" + name +
      "() {\n"
      "  local word option= at=" +
      name +
      " current=${COMP_WORDS[COMP_CWORD]} known=\n"
      "  COMPREPLY=()\n" +
      Walk(places, "\"${COMP_WORDS[@]:1:COMP_CWORD-1}\"") +
      "  [[ $current == = ]] && current=\n"
      "  case \"$at $option\" in\n" +
      ValueCases(places, {.file = "compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY "
                                  "< <(compgen -f -- \"$current\")",
                          .directory = "compopt -o filenames 2>/dev/null; mapfile -t "
                                       "COMPREPLY < <(compgen -d -- \"$current\")",
                          .choice_before = "mapfile -t COMPREPLY < <(compgen -W '",
                          .choice_after = "' -- \"$current\")"}) +
      "  esac\n"
      "  [[ -z $option ]] || return\n"
      "  case $at in\n";
  for (const Place& place : places) {
    std::vector<std::string> commands;
    std::vector<std::string> options;
    for (const Command& below : place.command->commands) {
      commands.push_back(below.name);
    }
    for (const Option* option : place.options) {
      options.push_back(option->names.back());
    }
    text += "    " + Quoted(place.path) + ")\n      if [[ $current == -* ]]; then known='" +
            Joined(options, " ") + "'; else known='" + Joined(commands, " ") + "'; fi ;;\n";
  }
  return text +
         "  esac\n"
         "  [[ $current == -* ]] && COMPREPLY=()\n"
         "  mapfile -t -O \"${#COMPREPLY[@]}\" COMPREPLY < <(compgen -W \"$known\" -- "
         "\"$current\")\n"
         "}\n"
         "complete -F _" +
         name + " " + name + "\n";
}

// `name:description` of _describe.
std::string Described(const std::string& name, const std::string& description) {
  std::string escaped;
  for (const char c : name) {
    escaped += c == ':' ? std::string("\\:") : std::string(1, c);
  }
  return Quoted(escaped + ":" + description);
}

std::string Zsh(const std::vector<Place>& places) {
  const std::string name = places.front().path;
  std::string text = "#compdef " + name + "\n# Completion of " + name +
                     " for zsh, made from the program's own help.\n_" + name +
                     "() {\n"
                     "  local word option= at=" +
                     name + "\n  local -a commands options\n" +
                     Walk(places, "\"${(@)words[2,CURRENT-1]}\"") + "  case \"$at $option\" in\n" +
                     ValueCases(places, {.file = "_files",
                                         .directory = "_files -/",
                                         .choice_before = "compadd -- ",
                                         .choice_after = ""}) +
                     "  esac\n"
                     "  [[ -z $option ]] || return 0\n"
                     "  case $at in\n";
  for (const Place& place : places) {
    text += "    " + Quoted(place.path) + ")\n      commands=(";
    for (const Command& below : place.command->commands) {
      text += "\n        " + Described(below.name, below.description);
    }
    text += ")\n      options=(";
    for (const Option* option : place.options) {
      text += "\n        " + Described(option->names.back(), option->description);
    }
    text += ") ;;\n";
  }
  return text +
         "  esac\n"
         "  if [[ $words[CURRENT] == -* ]]; then\n"
         "    _describe option options\n"
         "  elif ((${#commands})); then\n"
         "    _describe command commands\n"
         "  fi\n"
         "}\n"
         "if [[ $funcstack[1] == _" +
         name + " ]]; then _" + name + " \"$@\"; else compdef _" + name + " " + name + "; fi\n";
}

std::string FishValue(const Option& option) {
  switch (KindOf(option)) {
    case ValueKind::kNone:
      return "";
    case ValueKind::kFile:
      return " -r -F";
    case ValueKind::kDirectory:
      return " -x -a '(__fish_complete_directories)'";
    case ValueKind::kChoice:
      return " -x -a '" + Joined(option.choices, " ") + "'";
    case ValueKind::kText:
      return " -x";
  }
  return "";
}

// In fish a quote within quotes has a backslash.
std::string FishQuoted(const std::string& text) {
  std::string quoted = "'";
  for (const char c : text) {
    quoted += (c == '\'' || c == '\\') ? std::string("\\") + c : std::string(1, c);
  }
  return quoted + "'";
}

std::string Fish(const std::vector<Place>& places) {
  const std::string name = places.front().path;
  const std::string with_values = OptionsWithValues(places, " ");
  std::string text = "# Completion of " + name +
                     " for fish, made from the program's own help.\n"
                     "function __" +
                     name +
                     "_at\n"
                     "    set -l at " +
                     name +
                     "\n"
                     "    set -l option\n"
                     "    for word in (commandline -opc)[2..-1]\n"
                     "        if test -n \"$option\"\n"
                     "            set option\n"
                     "            continue\n"
                     "        end\n"
                     "        switch \"$at $word\"\n"
                     "            case " +
                     Paths(places, " ") + "\n                set at \"$at $word\"\n";
  if (!with_values.empty()) {
    text += "            case " + with_values + "\n                set option $word\n";
  }
  text +=
      "        end\n"
      "    end\n"
      "    test \"$at\" = \"$argv\"\n"
      "end\n"
      "complete -c " +
      name + " -f\n";
  for (const Place& place : places) {
    const std::string here = "complete -c " + name + " -n \"__" + name + "_at " + place.path + "\"";
    for (const Command& below : place.command->commands) {
      text += here + " -a " + below.name + " -d " + FishQuoted(below.description) + "\n";
    }
    for (const Option* option : place.options) {
      text += here;
      for (const std::string& option_name : option->names) {
        text += option_name.starts_with("--") ? " -l " + option_name.substr(2)
                                              : " -s " + option_name.substr(1);
      }
      text += FishValue(*option) + " -d " + FishQuoted(option->description) + "\n";
    }
    if (!place.command->arguments.empty()) {
      const Option& argument = place.command->arguments.front();
      const ValueKind kind = KindOf(argument);
      if (kind == ValueKind::kFile) {
        text += here + " -F\n";
      } else if (kind == ValueKind::kDirectory || kind == ValueKind::kChoice) {
        text += here + FishValue(argument).substr(3) + "\n";
      }
    }
  }
  return text;
}

}  // namespace

const std::vector<std::string>& ShellNames() {
  static const std::vector<std::string> names = {"bash", "zsh", "fish"};
  return names;
}

std::optional<Shell> ShellFrom(std::string_view name) {
  if (name == "bash") return Shell::kBash;
  if (name == "zsh") return Shell::kZsh;
  if (name == "fish") return Shell::kFish;
  return std::nullopt;
}

std::string Completion(const Command& command, Shell shell) {
  const std::vector<Place> places = PlacesOf(command);
  switch (shell) {
    case Shell::kBash:
      return Bash(places);
    case Shell::kZsh:
      return Zsh(places);
    case Shell::kFish:
      return Fish(places);
  }
  return "";
}

}  // namespace tributary::command_line
