#include "core/hooks/intervention_json.h"

#include <ATen/ATen.h>

#include "core/io/safetensors.h"
#include "core/model/weights.h"

namespace microtome {
namespace {

std::vector<int64_t> int_list(const Json& v, const std::string& field, const std::string& where) {
  std::vector<int64_t> out;
  if (v.is_number_integer()) return {v.get<int64_t>()};
  if (v.is_array()) {
    for (const Json& e : v) {
      if (!e.is_number_integer()) throw Error(StatusCode::kBadInput, "field '" + field + "' is not a list of integers", where, "write [0, 3]");
      out.push_back(e.get<int64_t>());
    }
    return out;
  }
  throw Error(StatusCode::kBadInput, "field '" + field + "' is not a list of integers", where, "write [0, 3]");
}

at::Tensor read_source_file(const std::string& text, const std::string& where) {
  size_t colon = text.rfind(':');
  if (colon == std::string::npos || colon == 0)
    throw Error(StatusCode::kBadInput, "source file '" + text.substr(0, 200) + "' names no tensor", where, "write FILE.safetensors:NAME");
  SafetensorsFile file = SafetensorsFile::open(text.substr(0, colon)).value();
  const TensorEntry* e = file.find(text.substr(colon + 1));
  if (!e) throw Error(StatusCode::kNotFound, "tensor '" + text.substr(colon + 1) + "' is not in the file", text.substr(0, colon), "`microtome inspect FILE` lists them");
  return tensor_of_entry(*e, file.keep_alive()).clone();
}

}  // namespace

std::vector<Intervention> parse_interventions(const Json& list, const std::string& where, const RunSource& run) {
  if (!list.is_array()) throw Error(StatusCode::kBadInput, "not a list of interventions", where, "write [{\"hook\": …, \"operation\": …, \"source\": …}]");
  std::vector<Intervention> out;
  for (size_t n = 0; n < list.size(); ++n) {
    const Json& j = list[n];
    std::string here = where + ", entry " + std::to_string(n);
    if (!j.is_object()) throw Error(StatusCode::kBadInput, "an intervention is not an object", here, "write {\"hook\": …}");
    for (const auto& [key, _] : j.items())
      if (key != "hook" && key != "where" && key != "operation" && key != "source")
        throw Error(StatusCode::kBadInput, "unknown field '" + key.substr(0, 60) + "'", here, "known are hook, where, operation, source");
    Intervention i;
    i.hook = json_string(j, "hook", here);
    std::string op = json_string(j, "operation", here);
    if (op == "set") i.operation = Intervention::Operation::kSet;
    else if (op == "add") i.operation = Intervention::Operation::kAdd;
    else if (op == "scale") i.operation = Intervention::Operation::kScale;
    else if (op == "project_out") i.operation = Intervention::Operation::kProjectOut;
    else throw Error(StatusCode::kBadInput, "operation '" + op.substr(0, 60) + "' is unknown", here, "use set, add, scale or project_out");
    if (j.contains("where")) {
      if (!j["where"].is_object()) throw Error(StatusCode::kBadInput, "field 'where' is not an object", here, "write {\"head\": [2]}");
      for (const auto& [axis, v] : j["where"].items()) i.where[axis] = int_list(v, axis, here);
    }
    if (!j.contains("source") || !j["source"].is_object())
      throw Error(StatusCode::kBadInput, "field 'source' is missing or no object", here, "write {\"zero\": true}, {\"value\": x}, {\"file\": …} or {\"run\": …}");
    const Json& s = j["source"];
    if (s.contains("zero")) i.value = 0;
    else if (s.contains("value")) i.value = json_float(s, "value", here);
    else if (s.contains("file")) i.tensor = read_source_file(json_string(s, "file", here), here);
    else if (s.contains("run")) i.tensor = run(json_string(s, "run", here), i.hook, s.contains("pos") ? int_list(s["pos"], "pos", here) : std::vector<int64_t>{});
    else throw Error(StatusCode::kBadInput, "field 'source' says nothing", here, "write {\"zero\": true}, {\"value\": x}, {\"file\": …} or {\"run\": …}");
    if (i.operation == Intervention::Operation::kProjectOut && !i.tensor.defined())
      throw Error(StatusCode::kBadInput, "project_out needs a direction", here, "give a tensor as source");
    i.source_text = s.dump();
    out.push_back(std::move(i));
  }
  return out;
}

}  // namespace microtome
