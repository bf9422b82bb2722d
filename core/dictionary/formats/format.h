// format.h — a form in which others keep dictionaries: how to know one, read it, and write it without loss or say why not.
// A format is a folder of core/dictionary/formats that defines register_<folder>(Registry&); nothing else is edited to add one.
#pragma once

#include <string>
#include <vector>

#include "core/dictionary/dictionary.h"

namespace microtome {

struct DictionaryFormat {
  std::string name, title, source;           // "saelens"; one line; where the format is defined
  // Does the path (a file or a folder) look like one? Reads names and at most a header. Never throws.
  bool (*looks_like)(const std::string& path) = nullptr;
  // Bounded, never out of the folder, no pickle executed. Throws Error(kBadInput) naming file and field.
  DictionarySet (*read)(const std::string& path) = nullptr;
  // Why this set cannot be written in this format, one sentence; "": it can, and reading it back gives the same numbers.
  // Null with write: the format is only read.
  std::string (*why_not)(const DictionarySet& set) = nullptr;
  // path: a folder that is made (kBadInput where it exists and is not empty), or a file, as the format has it.
  void (*write)(const DictionarySet& set, const std::string& path) = nullptr;
};

namespace dictionary_formats {

class Registry {
 public:
  void add(DictionaryFormat format);         // throws Error(kInternal) on a second registration
  const std::vector<DictionaryFormat>& all() const { return formats_; }
  const DictionaryFormat& get(const std::string& name) const;   // Error(kNotFound) lists the known names

 private:
  std::vector<DictionaryFormat> formats_;
};

void register_all(Registry& registry);       // generated
const Registry& builtin();

}  // namespace dictionary_formats

// Finds the format by itself. Throws Error(kBadInput) naming what was looked for.
DictionarySet read_dictionaries(const std::string& path, const std::string& format = "auto");
// Throws Error(kUnsupported) with why_not's sentence.
void write_dictionaries(const DictionarySet& set, const std::string& format, const std::string& path);

// Where the dictionary was trained on a model that is not this one: one sentence naming both hashes, else "". Errors of
// shape against the hook are thrown as Error(kBadInput).
class Model;
std::string check_against_model(const Dictionary& d, const Model& model, const std::string& weights_hash);

}  // namespace microtome
