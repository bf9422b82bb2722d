#include "app/engine/trained_dictionaries.h"

#include <algorithm>
#include <filesystem>

#include "core/base/status.h"
#include "core/dictionary/formats/format.h"
#include "core/dictionary/stored.h"

namespace microtome::app {

void write_trained_dictionaries(const AnalysisResult& result, const std::vector<std::string>& names, const std::string& folder) {
  namespace fs = std::filesystem;
  std::error_code ec;
  if (fs::exists(folder, ec) && !fs::is_empty(folder, ec)) return;
  AnalysisResult chosen;
  for (const Artifact& a : result.artifacts)
    if (const auto* map = std::get_if<TensorMap>(&a); map && is_dictionary(*map))
      if (names.empty() || std::find(names.begin(), names.end(), map->name) != names.end()) chosen.artifacts.push_back(*map);
  if (chosen.artifacts.empty())
    throw Error(StatusCode::kNotFound, names.empty() ? "the run holds no dictionary" : "the run holds no dictionary '" + names.front() + "'", "dictionaries",
                "choose a training run that is done");
  const DictionarySet set = dictionaries_of(chosen, folder);
  // The first of the forms that holds it without loss: SAELens has no transcoders that choose the k largest, sparsify has.
  std::string form, why;
  for (const char* name : {"saelens", "sparsify", "circuit_tracer"}) {
    const DictionaryFormat& format = dictionary_formats::builtin().get(name);
    const std::string not_this = format.write ? format.why_not(set) : "it is only read";
    if (form.empty() && not_this.empty()) form = name;
    if (!not_this.empty()) why += (why.empty() ? "" : "; ") + not_this;
  }
  if (form.empty()) throw Error(StatusCode::kUnsupported, why, folder, "train another kind: topk, or jumprelu");
  // Beside its place and moved there whole: what a full disk leaves half-written is never taken for a dictionary.
  const std::string part = folder + ".part";
  fs::remove_all(part, ec);
  fs::create_directories(fs::path(folder).parent_path(), ec);
  write_dictionaries(set, form, part);
  fs::remove(folder, ec);
  fs::rename(part, folder, ec);
  if (ec) throw Error(StatusCode::kFailed, "the dictionary cannot be moved into place: " + ec.message(), folder, "free space, or choose another place for the project");
}

std::optional<training::Kept> kept_training(ResultStore& store, int64_t run, bool dictionaries) {
  const std::optional<ResultStore::KeptState> state = store.state(run).value();
  if (!state) return std::nullopt;
  std::vector<std::vector<NamedArray>> items;
  for (int64_t item : store.items_done(run).value())
    if (item < state->item)
      if (std::optional<std::vector<NamedArray>> arrays = store.item(run, item).value()) items.push_back(std::move(*arrays));
  return training::kept_training(items, state->arrays, dictionaries);
}

}  // namespace microtome::app
