// train: a training run from a file that says what to train on what; kept in a project, its dictionaries written as files.
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <iterator>

#include "app/cli/commands/commands.h"
#include "core/dictionary/formats/format.h"
#include "core/dictionary/stored.h"

namespace microtome::cli {
namespace {

namespace fs = std::filesystem;

std::string text_of(const Json& v, const std::string& key, const std::string& where) {
  if (v.is_string()) return v.get<std::string>();
  if (v.is_boolean()) return v.get<bool>() ? "true" : "false";
  if (v.is_number()) return v.dump();
  throw Error(StatusCode::kBadInput, "field '" + key + "' is not a text, a number or true or false", where, "see `microtome train --help`");
}

}  // namespace

int train(const CommandLine& line) {
  const std::string what = line.word(0), spec = line.word(1);
  const Json j = read_json_file(spec).value();
  if (!j.is_object()) throw Error(StatusCode::kBadInput, "the file is no JSON object", spec, "write {\"model\": …, \"corpus\": …}");
  // Paths in the file are meant from where it lies, so that file and data can move together.
  const fs::path folder = fs::absolute(spec).parent_path();
  auto placed = [&](const std::string& path) { return (folder / path).lexically_normal().string(); };
  static const char* kOptions[] = {"device", "dtype", "seed", "threads", "form", "weights"};
  CommandLine run = line;
  run.words.clear();
  std::string out = placed(fs::path(spec).stem().string() + "-dictionaries"), format = "auto";
  run.options["--project"] = placed(fs::path(spec).stem().string() + ".microtome");
  std::vector<std::string> set;
  for (const auto& [key, value] : j.items()) {
    const std::string text = text_of(value, key, spec);
    if (key == "model" || key == "project") run.options["--" + key] = placed(text);
    else if (key == "out") out = placed(text);
    else if (key == "format") format = text;
    else if (std::find(std::begin(kOptions), std::end(kOptions), key) != std::end(kOptions)) {
      if (!line.has("--" + key)) run.options["--" + key] = text;
    } else if (key == "tf32") {
      if (value == true) run.flags.insert("--tf32");
    } else {
      set.push_back(key + "=" + ((key == "corpus" || key == "cache") && !text.empty() ? placed(text) : text));
    }
  }
  if (!run.has("--model")) throw Error(StatusCode::kBadInput, "the file names no model", spec, "write \"model\": \"FOLDER\"");
  run.lists["--set"] = set;
  // A name that no format has, and a folder that is in use, are said before the training.
  if (format != "auto" && !dictionary_formats::builtin().get(format).write)
    throw Error(StatusCode::kUnsupported, "the format '" + format + "' is only read", spec, "write \"format\": \"saelens\"");
  std::error_code ec;
  const bool there = fs::exists(out, ec) && !fs::is_empty(out, ec);
  const Performed done = perform(run, what);
  print_performed(done, run.get("--project"));
  if (there) {
    std::printf("the dictionaries are in the project; '%s' is there already and is left as it is\n", out.c_str());
    return 0;
  }
  const DictionarySet made = dictionaries_of(done.outcome.result, run.get("--project"));
  // "auto": the first form that can hold what was made; a TopK transcoder, say, has none in SAELens.
  for (const char* name : {"saelens", "sparsify", "circuit_tracer"}) {
    if (format != "auto") break;
    if (dictionary_formats::builtin().get(name).why_not(made).empty()) format = name;
  }
  write_dictionaries(made, format == "auto" ? "saelens" : format, out);
  std::printf("dictionaries: %s (%s)\n", out.c_str(), dictionary_formats::builtin().get(format).title.c_str());
  return 0;
}

}  // namespace microtome::cli
