// params.h — parameters by name: what an analysis, a task or a mixer is given, and the schema that says what it takes.
// One schema (params.json) makes the command-line flags, the help, the desktop form and the run key.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "core/base/status.h"

namespace microtome {

using ParamValue = std::variant<bool, int64_t, double, std::string>;
std::string param_text(const ParamValue& v);   // "true", "3", "0.25" (shortest that round-trips), the string itself

// Ordered by name. Immutable use is thread-safe.
class Params {
 public:
  void set(const std::string& name, ParamValue v) { values_[name] = std::move(v); }
  bool has(const std::string& name) const {
    note(name);
    return values_.count(name) != 0;
  }
  // Throw Error(kInternal) when the name is absent or the type differs (an int serves as a float).
  bool get_bool(const std::string& name) const;
  int64_t get_int(const std::string& name) const;
  double get_float(const std::string& name) const;
  const std::string& get_string(const std::string& name) const;
  bool get_bool(const std::string& name, bool fallback) const { return has(name) ? get_bool(name) : fallback; }
  int64_t get_int(const std::string& name, int64_t fallback) const { return has(name) ? get_int(name) : fallback; }
  double get_float(const std::string& name, double fallback) const { return has(name) ? get_float(name) : fallback; }
  std::string get_string(const std::string& name, const char* fallback) const {
    return has(name) ? get_string(name) : std::string(fallback);
  }
  const std::map<std::string, ParamValue>& values() const { return values_; }
  // A copy that writes down in `asked`, which must outlive it, every name that is asked for: what its reader knows.
  Params recording(std::set<std::string>& asked) const {
    Params out = *this;
    out.asked_ = &asked;
    return out;
  }

 private:
  void note(const std::string& name) const {
    if (asked_) asked_->insert(name);
  }
  std::set<std::string>* asked_ = nullptr;
  std::map<std::string, ParamValue> values_;
};

struct ParamSpec {
  enum class Type { kBool, kInt, kFloat, kString, kChoice };
  std::string name, help;
  Type type = Type::kString;
  ParamValue fallback;                       // the default
  std::optional<double> min, max;            // inclusive, numbers only
  std::vector<std::string> choices;          // kChoice
  bool affects_answer = true;                // false: cost only (batch size and the like); not part of a run's key
  bool is_file = false;                      // a text that names a file or folder (or is empty): what is in it affects the answer, its name does not
};

struct ParamSchema {
  std::vector<ParamSpec> specs;
  const ParamSpec* find(const std::string& name) const;
};

// params.json: {"params": [{"name","type":"bool|int|float|string|choice|file","default","range":[lo,hi]?,"choices":[..]?,
// "help","affects":"answer|cost"}]}. A malformed schema is Error(kInternal): it ships with the program.
ParamSchema parse_param_schema(const std::string& json_text, const std::string& where);
// "key=value" texts to typed values with defaults filled in. An unknown name lists the known ones; a value out of range
// names the range.
Result<Params> resolve_params(const ParamSchema& schema, const std::map<std::string, std::string>& given);

}  // namespace microtome
