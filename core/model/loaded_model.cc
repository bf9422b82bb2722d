#include "core/model/loaded_model.h"

#include <filesystem>

#include "core/families/registry.h"
#include "core/model/weights.h"

namespace microtome {
namespace {

std::string folder_name(const std::string& folder) {
  std::filesystem::path p = std::filesystem::path(folder).lexically_normal();
  if (p.filename().empty()) p = p.parent_path();
  std::string name = p.filename().string();
  return name.empty() || name == "." ? std::filesystem::absolute(p).lexically_normal().parent_path().filename().string() : name;
}

}  // namespace

InspectedModel inspect_model(const std::string& folder) {
  InspectedModel out;
  out.folder = folder;
  out.name = folder_name(folder);
  out.checkpoint = std::make_shared<Checkpoint>(Checkpoint::open(folder).value());
  auto [family, config] = families::read_model_config(out.checkpoint->config(), folder + "/config.json");
  out.family = family;
  out.config = std::move(config);
  out.config.name = out.name;
  out.warnings = check_weights(*out.checkpoint, *family, out.config);
  return out;
}

std::shared_ptr<const LoadedModel> load_model(const std::string& folder, c10::Device device, at::ScalarType dtype,
                                              WeightKeep keep) {
  InspectedModel seen = inspect_model(folder);
  auto out = std::make_shared<LoadedModel>();
  out->folder = folder;
  out->name = seen.name;
  out->family = seen.family;
  out->checkpoint = seen.checkpoint;
  auto weights = load_weights(*seen.checkpoint, *seen.family, seen.config, device, dtype, true, keep);
  out->warnings = weights->warnings;
  out->model = std::make_shared<Model>(seen.config, weights);
  out->tokenizer = Tokenizer::open_folder(folder).value();
  return out;
}

}  // namespace microtome
