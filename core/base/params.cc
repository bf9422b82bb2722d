#include "core/base/params.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "core/base/json.h"
#include "core/base/quote.h"

namespace microtome {
namespace {

const char* type_word(ParamSpec::Type type) {
  switch (type) {
    case ParamSpec::Type::kBool: return "true or false";
    case ParamSpec::Type::kInt: return "an integer";
    case ParamSpec::Type::kFloat: return "a number";
    case ParamSpec::Type::kString: return "a text";
    case ParamSpec::Type::kChoice: return "one of the choices";
  }
  return "";
}

std::string joined(const std::vector<std::string>& words) {
  std::string out;
  for (const auto& w : words) out += (out.empty() ? "" : ", ") + w;
  return out;
}

// The whole text as a T, else nothing. A leading '+' is what people write.
template <class T>
std::optional<T> whole_number(std::string_view text) {
  if (text.size() > 1 && text[0] == '+' && text[1] != '-') text.remove_prefix(1);
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<bool> boolean(const std::string& text) {
  if (text == "true" || text == "1" || text == "on" || text == "yes") return true;
  if (text == "false" || text == "0" || text == "off" || text == "no") return false;
  return std::nullopt;
}

std::string range_text(const ParamSpec& spec) {
  if (spec.min && spec.max) return param_text(*spec.min) + " to " + param_text(*spec.max);
  return spec.min ? "at least " + param_text(*spec.min) : "at most " + param_text(*spec.max);
}

// The sentence that says what is wrong with a value of the right type; empty when nothing is.
std::string complaint(const ParamSpec& spec, const ParamValue& value) {
  const int64_t* whole = std::get_if<int64_t>(&value);
  const double* real = std::get_if<double>(&value);
  if (whole || real) {
    const double x = whole ? static_cast<double>(*whole) : *real;
    if (!std::isfinite(x)) return "is not a finite number";
    if ((spec.min && x < *spec.min) || (spec.max && x > *spec.max))
      return "is " + param_text(value) + ", outside its range (" + range_text(spec) + ")";
  }
  if (spec.type == ParamSpec::Type::kChoice) {
    const std::string& word = std::get<std::string>(value);
    if (std::find(spec.choices.begin(), spec.choices.end(), word) == spec.choices.end())
      return "is " + in_quotes(word) + ", expected one of: " + joined(spec.choices);
  }
  return "";
}

Result<ParamValue> typed(const ParamSpec& spec, const std::string& text) {
  std::optional<ParamValue> value;
  switch (spec.type) {
    case ParamSpec::Type::kBool:
      if (auto b = boolean(text)) value = *b;
      break;
    case ParamSpec::Type::kInt:
      if (auto i = whole_number<int64_t>(text)) value = *i;
      break;
    case ParamSpec::Type::kFloat:
      if (auto d = whole_number<double>(text)) value = *d;
      break;
    case ParamSpec::Type::kString:
    case ParamSpec::Type::kChoice: value = text; break;
  }
  if (!value)
    return Status(StatusCode::kBadInput,
                  "parameter '" + spec.name + "' is " + in_quotes(text) + ", expected " + type_word(spec.type), "",
                  spec.help);
  if (const std::string bad = complaint(spec, *value); !bad.empty())
    return Status(StatusCode::kBadInput, "parameter '" + spec.name + "' " + bad, "", spec.help);
  return *value;
}

[[noreturn]] void malformed(const std::string& what, const std::string& where) {
  throw Error(StatusCode::kInternal, "malformed parameter schema: " + what, where);
}

ParamSpec::Type type_of(const std::string& word, const std::string& name, const std::string& where) {
  if (word == "bool") return ParamSpec::Type::kBool;
  if (word == "int") return ParamSpec::Type::kInt;
  if (word == "float") return ParamSpec::Type::kFloat;
  if (word == "string" || word == "file") return ParamSpec::Type::kString;
  if (word == "choice") return ParamSpec::Type::kChoice;
  malformed("parameter '" + name + "' has the unknown type " + in_quotes(word), where);
}

void read_range(const Json& entry, ParamSpec& spec, const std::string& where) {
  const auto range = entry.find("range");
  if (range == entry.end() || range->is_null()) return;
  const bool numeric = spec.type == ParamSpec::Type::kInt || spec.type == ParamSpec::Type::kFloat;
  if (!numeric || !range->is_array() || range->size() != 2) malformed("the range of '" + spec.name + "'", where);
  auto bound = [&](const Json& b) -> std::optional<double> {
    if (b.is_null()) return std::nullopt;             // open on this side
    if (!b.is_number()) malformed("the range of '" + spec.name + "'", where);
    return b.get<double>();
  };
  spec.min = bound((*range)[0]);
  spec.max = bound((*range)[1]);
  if (!spec.min && !spec.max) return;
  if (spec.min && spec.max && *spec.min > *spec.max) malformed("the range of '" + spec.name + "' is empty", where);
}

ParamValue read_default(const Json& entry, const ParamSpec& spec, const std::string& where) {
  const auto it = entry.find("default");
  if (it == entry.end()) malformed("parameter '" + spec.name + "' has no default", where);
  switch (spec.type) {
    case ParamSpec::Type::kBool:
      if (it->is_boolean()) return it->get<bool>();
      break;
    case ParamSpec::Type::kInt:
      if (it->is_number_integer()) return json_int(entry, "default", where);
      break;
    case ParamSpec::Type::kFloat:
      if (it->is_number()) return it->get<double>();
      break;
    case ParamSpec::Type::kString:
    case ParamSpec::Type::kChoice:
      if (it->is_string()) return it->get<std::string>();
      break;
  }
  malformed("the default of '" + spec.name + "' is not " + type_word(spec.type), where);
}

ParamSpec read_spec(const Json& entry, const std::string& where) {
  ParamSpec spec;
  spec.name = json_string(entry, "name", where);
  if (spec.name.empty()) malformed("a parameter has no name", where);
  spec.help = json_string(entry, "help", where);
  spec.type = type_of(json_string(entry, "type", where), spec.name, where);
  spec.is_file = json_string(entry, "type", where) == "file";
  const std::string affects = json_string(entry, "affects", where);
  if (affects != "answer" && affects != "cost") malformed("'affects' of '" + spec.name + "'", where);
  spec.affects_answer = affects == "answer";
  read_range(entry, spec, where);
  if (const auto choices = entry.find("choices"); choices != entry.end() && !choices->is_null()) {
    if (!choices->is_array()) malformed("the choices of '" + spec.name + "'", where);
    for (const Json& c : *choices) {
      if (!c.is_string()) malformed("the choices of '" + spec.name + "'", where);
      spec.choices.push_back(c.get<std::string>());
    }
  }
  if ((spec.type == ParamSpec::Type::kChoice) == spec.choices.empty())
    malformed("'" + spec.name + "': a choice, and only a choice, has choices", where);
  spec.fallback = read_default(entry, spec, where);
  if (const std::string bad = complaint(spec, spec.fallback); !bad.empty())
    malformed("the default of '" + spec.name + "' " + bad, where);
  return spec;
}

}  // namespace

std::string param_text(const ParamValue& v) {
  if (const bool* b = std::get_if<bool>(&v)) return *b ? "true" : "false";
  if (const int64_t* i = std::get_if<int64_t>(&v)) return std::to_string(*i);
  if (const std::string* s = std::get_if<std::string>(&v)) return *s;
  char buffer[64];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, std::get<double>(v)).ptr;
  return std::string(buffer, end);
}

namespace {

const ParamValue& held(const std::map<std::string, ParamValue>& values, const std::string& name) {
  const auto it = values.find(name);
  if (it == values.end()) throw Error(StatusCode::kInternal, "parameter '" + name + "' is not set");
  return it->second;
}

template <class T>
const T& held_as(const std::map<std::string, ParamValue>& values, const std::string& name, const char* word) {
  const ParamValue& v = held(values, name);
  if (const T* x = std::get_if<T>(&v)) return *x;
  throw Error(StatusCode::kInternal, "parameter '" + name + "' is '" + param_text(v) + "', asked for as " + word);
}

}  // namespace

bool Params::get_bool(const std::string& name) const {
  note(name);
  return held_as<bool>(values_, name, "true or false");
}
int64_t Params::get_int(const std::string& name) const {
  note(name);
  return held_as<int64_t>(values_, name, "an integer");
}
const std::string& Params::get_string(const std::string& name) const {
  note(name);
  return held_as<std::string>(values_, name, "a text");
}
double Params::get_float(const std::string& name) const {
  note(name);
  if (const int64_t* i = std::get_if<int64_t>(&held(values_, name))) return static_cast<double>(*i);
  return held_as<double>(values_, name, "a number");
}

const ParamSpec* ParamSchema::find(const std::string& name) const {
  for (const auto& spec : specs)
    if (spec.name == name) return &spec;
  return nullptr;
}

ParamSchema parse_param_schema(const std::string& json_text, const std::string& where) {
  Result<Json> root = parse_json(json_text, where);
  if (!root) malformed(root.status().what(), where);
  if (!root->is_object()) malformed("expected an object", where);
  const auto list = root->find("params");
  if (list == root->end() || !list->is_array()) malformed("the list 'params' is missing", where);
  ParamSchema schema;
  for (const Json& entry : *list) {
    ParamSpec spec;
    try {
      spec = read_spec(entry, where);
    } catch (const Error& e) {
      if (e.status().code() == StatusCode::kInternal) throw;
      malformed(e.status().what(), where);
    }
    if (schema.find(spec.name)) malformed("parameter '" + spec.name + "' occurs twice", where);
    schema.specs.push_back(std::move(spec));
  }
  return schema;
}

Result<Params> resolve_params(const ParamSchema& schema, const std::map<std::string, std::string>& given) {
  Params params;
  for (const auto& spec : schema.specs) params.set(spec.name, spec.fallback);
  for (const auto& [name, text] : given) {
    const ParamSpec* spec = schema.find(name);
    if (!spec) {
      std::vector<std::string> known;
      for (const auto& s : schema.specs) known.push_back(s.name);
      return Status(StatusCode::kBadInput, "there is no parameter " + in_quotes(name), "",
                    known.empty() ? "it takes no parameters" : "the parameters are: " + joined(known));
    }
    Result<ParamValue> value = typed(*spec, text);
    if (!value) return value.status();
    params.set(name, *value);
  }
  return params;
}

}  // namespace microtome
