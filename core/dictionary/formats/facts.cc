// Facts of ours in files of others. Nothing here needs LibTorch's code, so that the reader of configurations is fuzzed without.
#include "core/dictionary/formats/files.h"

namespace microtome::dictionary_formats {

Json own_facts(const DictionaryConfig& c) {
  Json out = Json::object();
  if (c.k > 0) out["k"] = c.k;
  if (!c.nested.empty()) out["nested"] = c.nested;
  if (!c.name.empty()) out["name"] = c.name;
  if (!c.model.empty()) out["model"] = c.model;
  if (!c.weights_hash.empty()) out["weights_hash"] = c.weights_hash;
  if (!c.hook_in.empty()) out["hook_in"] = c.hook_in;
  if (!c.hook_out.empty()) out["hook_out"] = c.hook_out;
  return out;
}

std::string text_or_empty(const Json& object, const char* key, const std::string& where) { return json_string(object, key, std::string(), where); }

void read_own_facts(const Json& object, const std::string& where, DictionaryConfig& c) {
  const auto it = object.find("microtome");
  if (it == object.end() || !it->is_object()) return;
  const Json& own = *it;
  const auto text = [&](const char* key, std::string& to) {
    const std::string s = text_or_empty(own, key, where);
    if (!s.empty()) to = s;
  };
  text("name", c.name);
  text("model", c.model);
  text("weights_hash", c.weights_hash);
  text("hook_in", c.hook_in);
  text("hook_out", c.hook_out);
  if (c.k == 0) c.k = json_int(own, "k", 0, where);
  if (const auto nested = own.find("nested"); c.nested.empty() && nested != own.end() && nested->is_array())
    for (const Json& n : *nested) {
      if (!n.is_number_integer() || c.nested.size() > 4096) throw Error(StatusCode::kBadInput, "field 'nested' is no list of whole numbers", where);
      c.nested.push_back(n.get<int64_t>());
    }
}

}  // namespace microtome::dictionary_formats
