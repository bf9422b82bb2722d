#include "core/dictionary/formats/registry.h"

#include <filesystem>

#include "core/base/quote.h"
#include "core/dictionary/formats/files.h"
#include "core/model/model.h"

namespace microtome {

namespace dictionary_formats {

void Registry::add(DictionaryFormat format) {
  for (const DictionaryFormat& f : formats_)
    if (f.name == format.name) throw Error(StatusCode::kInternal, "dictionary format '" + format.name + "' is registered twice");
  formats_.push_back(std::move(format));
}

const DictionaryFormat& Registry::get(const std::string& name) const {
  std::string names;
  for (const DictionaryFormat& f : formats_) {
    if (f.name == name) return f;
    names += (names.empty() ? "" : ", ") + f.name;
  }
  throw Error(StatusCode::kNotFound, "there is no dictionary format " + in_quotes(name), "", "one of " + names);
}

const Registry& builtin() {
  static const Registry registry = [] {
    Registry r;
    register_all(r);
    return r;
  }();
  return registry;
}

}  // namespace dictionary_formats

DictionarySet read_dictionaries(const std::string& path, const std::string& format) {
  const auto& registry = dictionary_formats::builtin();
  std::error_code ec;
  if (!std::filesystem::exists(path, ec)) throw Error(StatusCode::kNotFound, "there is no such file or folder", path, "name a folder that holds a dictionary");
  if (format != "auto") return registry.get(format).read(path);
  const DictionaryFormat* found = nullptr;
  std::string looked;
  for (const DictionaryFormat& f : registry.all()) {
    looked += (looked.empty() ? "" : "; ") + f.title;
    if (!f.looks_like(path)) continue;
    if (found)
      throw Error(StatusCode::kBadInput, "the path holds dictionaries of '" + found->name + "' and of '" + f.name + "'", path, "name the folder of one of them, or the format");
    found = &f;
  }
  if (!found) throw Error(StatusCode::kBadInput, "the path holds no dictionary of a known format", path, "looked for: " + looked);
  return found->read(path);
}

void write_dictionaries(const DictionarySet& set, const std::string& format, const std::string& path) {
  const DictionaryFormat& f = dictionary_formats::builtin().get(format);
  if (!f.write) throw Error(StatusCode::kUnsupported, "the format '" + f.name + "' is only read", path, "choose another format");
  if (set.members.empty()) throw Error(StatusCode::kBadInput, "there is no dictionary to write", path);
  if (const std::string why = f.why_not(set); !why.empty()) throw Error(StatusCode::kUnsupported, why, path, "choose another format");
  f.write(set, path);
}

namespace {

// Numbers a token that a point holds.
int64_t width_of(const Model& model, const std::string& hook, const std::string& name) {
  const HookPoint* point = model.catalogue().find(hook);
  if (!point) {
    std::string near;
    for (const std::string& n : model.catalogue().nearest(hook)) near += (near.empty() ? "" : ", ") + n;
    throw Error(StatusCode::kBadInput, "dictionary " + in_quotes(name) + " belongs to " + in_quotes(hook) + ", a point that model '" + model.config().name + "' does not have", "",
                near.empty() ? "choose another model" : "near names: " + near);
  }
  int64_t width = 1;
  for (size_t i = 0; i < point->axes.size(); ++i) {
    if (point->axes[i] == "batch" || point->axes[i] == "pos") continue;
    if (point->sizes[i] <= 0)
      throw Error(StatusCode::kBadInput, "dictionary " + in_quotes(name) + " belongs to " + in_quotes(hook) + ", whose axis '" + point->axes[i] + "' has no fixed size", "",
                  "a dictionary needs a point of fixed width");
    width *= point->sizes[i];
  }
  return width;
}

void check_width(const Dictionary& d, const Model& model, const std::string& hook, int64_t width, const char* does) {
  if (hook.empty()) return;
  const int64_t wide = width_of(model, hook, d.config.name);
  if (wide == width) return;
  throw Error(StatusCode::kBadInput, "dictionary " + in_quotes(d.config.name) + " " + does + " " + std::to_string(width) + " numbers a token, and " + hook + " of model '" + model.config().name +
              "' has " + std::to_string(wide), "", "choose the model it was trained on" + (d.config.model.empty() ? std::string() : ", " + in_quotes(d.config.model)));
}

}  // namespace

std::string check_against_model(const Dictionary& d, const Model& model, const std::string& weights_hash) {
  const DictionaryConfig& c = d.config;
  check_width(d, model, c.hook_in, c.d_in, "reads");
  if (c.hook_out != c.hook_in) check_width(d, model, c.hook_out, c.d_out, "writes");
  if (const int64_t layer = layer_of_hook(c.hook_out); d.has("W_dec_later") && layer >= 0) {
    const std::string point = dictionary_formats::after_block(c.hook_out);
    for (int64_t i = 1; i <= d.weight("W_dec_later").size(0); ++i) check_width(d, model, dictionary_formats::in_block(layer + i, point), c.d_out, "writes");
  }
  if (c.weights_hash.empty() || weights_hash.empty() || c.weights_hash == weights_hash) return {};
  return "dictionary " + in_quotes(c.name) + " was trained on weights " + c.weights_hash + (c.model.empty() ? std::string() : " (model " + in_quotes(c.model) + ")") + ", and model '" +
         model.config().name + "' has weights " + weights_hash + ": its features may mean something else here";
}

}  // namespace microtome
