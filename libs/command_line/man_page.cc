#include "libs/command_line/man_page.h"

#include <algorithm>
#include <cctype>

namespace tributary::command_line {
namespace {

// Text as roff takes it: no character of it is a request or an escape.
std::string Escaped(const std::string& text) {
  std::string escaped;
  for (const char c : text) {
    if (c == '\\') {
      escaped += "\\e";
    } else if (c == '-') {
      escaped += "\\-";
    } else if (c == '`') {
      escaped += "\\(oq";
    } else if (c == '\'') {
      escaped += "\\(aq";
    } else {
      escaped += c;
    }
  }
  for (std::size_t at; (at = escaped.find("…")) != std::string::npos;) {
    escaped.replace(at, std::string_view("…").size(), "...");
  }
  return escaped.starts_with('.') ? "\\&" + escaped : escaped;
}

std::string Capitals(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return text;
}

std::string Sentence(const std::string& text) {
  return text.empty() || text.ends_with('.') ? text : text + ".";
}

std::string Term(const Option& option) {
  std::string term;
  for (const std::string& name : option.names) {
    term += (term.empty() ? "" : ", ") + ("\\fB" + Escaped(name) + "\\fR");
  }
  if (!option.value.empty() && option.names.front().starts_with('-')) {
    term += " \\fI" + Escaped(option.value) + "\\fR";
  }
  return term;
}

std::string Entry(const Option& option) {
  std::string text = ".TP\n" + Term(option) + "\n" + Escaped(Sentence(option.description)) + "\n";
  if (!option.choices.empty()) {
    std::string choices;
    for (const std::string& choice : option.choices) {
      choices += (choices.empty() ? "" : ", ") + choice;
    }
    text += "One of " + Escaped(choices) + ".\n";
  }
  if (!option.default_value.empty()) {
    text += "Default: " + Escaped(option.default_value) + ".\n";
  }
  return text;
}

std::string Entries(const Command& command) {
  std::string text;
  for (const Option& argument : command.arguments) {
    text += Entry(argument);
  }
  for (const Option& option : command.options) {
    // Every command has it.
    if (option.names.back() != "--help") {
      text += Entry(option);
    }
  }
  return text;
}

std::string Literal(const std::vector<std::string>& lines) {
  std::string text = ".nf\n";
  for (const std::string& line : lines) {
    text += Escaped(line) + "\n";
  }
  return text + ".fi\n";
}

std::string Examples(const std::vector<std::string>& lines, const std::string& heading) {
  return lines.empty() ? "" : heading + Literal(lines);
}

// Those that do something, with their whole names.
void AddCommands(const Command& command, const std::string& path,
                 const std::vector<std::string>& own_pages, std::string& text) {
  for (const Command& below : command.commands) {
    const std::string name = path + " " + below.name;
    std::string page = name;
    std::replace(page.begin(), page.end(), ' ', '-');
    const auto own = std::find_if(own_pages.begin(), own_pages.end(),
                                  [&](const auto& other) { return other.starts_with(page + "("); });
    if (!below.commands.empty()) {
      AddCommands(below, name, own_pages, text);
      continue;
    }
    text += ".SS " + Escaped(Synopsis(below, name)) + "\n" + Escaped(Sentence(below.description)) +
            "\n";
    if (own != own_pages.end()) {
      text += "See " + Escaped(*own) + ".\n";
      continue;
    }
    text += Entries(below) + Examples(below.examples, ".PP\nExample:\n");
  }
}

std::string Terms(const std::vector<std::pair<std::string, std::string>>& terms) {
  std::string text;
  for (const auto& [term, meaning] : terms) {
    text += ".TP\n\\fB" + Escaped(term) + "\\fR\n" + Escaped(Sentence(meaning)) + "\n";
  }
  return text;
}

}  // namespace

std::string ManPage(const Command& command, const ManPageOptions& options) {
  std::string text = ".\\\" Made from the program's own command line.\n.TH " +
                     Escaped(Capitals(options.name)) + " " + std::to_string(options.section) +
                     " \"\" \"tributary " + Escaped(options.version) + "\" \"Tributary\"\n";
  std::string summary = command.description;
  if (summary.ends_with('.')) {
    summary.pop_back();
  }
  text += ".SH NAME\n" + Escaped(options.name) + " \\- " + Escaped(summary) + "\n";
  text += ".SH SYNOPSIS\n\\fB" + Escaped(Synopsis(command, command.name)) + "\\fR\n";
  text += ".SH DESCRIPTION\n" + Escaped(Sentence(command.description)) + "\n";
  text += ".SH OPTIONS\n" + Entries(command);
  if (!command.commands.empty()) {
    text += ".SH COMMANDS\n";
    text += "Every command but those with a page of their own also takes the options above.\n";
    AddCommands(command, command.name, options.see_also, text);
  }
  if (!command.exit_codes.empty()) {
    text += ".SH EXIT STATUS\n" + Escaped(Sentence(command.exit_codes)) + "\n";
  }
  if (!options.environment.empty()) {
    text += ".SH ENVIRONMENT\n" + Terms(options.environment);
  }
  if (!options.files.empty()) {
    text += ".SH FILES\n" + Terms(options.files);
  }
  text += Examples(command.examples, ".SH EXAMPLES\n");
  if (!options.see_also.empty()) {
    text += ".SH SEE ALSO\n";
    for (const std::string& other : options.see_also) {
      const std::size_t parenthesis = other.find('(');
      text += ".BR " + Escaped(other.substr(0, parenthesis)) + " " + other.substr(parenthesis) +
              (&other == &options.see_also.back() ? "\n" : " ,\n");
    }
  }
  return text;
}

}  // namespace tributary::command_line
