#include "plugins/host/plugin.h"

#include <dlfcn.h>
#include <elf.h>

#include <cstring>
#include <fstream>

#include "core/base/quote.h"
#include "core/base/sha256.h"
#include "plugins/host/border.h"

namespace microtome::plugins {
namespace {

std::string hash_of_file(const std::string& file) {
  std::ifstream in(file, std::ios::binary);
  Sha256 hash;
  std::vector<char> part(size_t{1} << 20);
  while (in) {
    in.read(part.data(), static_cast<std::streamsize>(part.size()));
    hash.update(part.data(), static_cast<size_t>(in.gcount()));
  }
  if (!in.eof()) throw Error(StatusCode::kNotFound, "the plug-in cannot be read", file, "check its permissions");
  return hash.hex();
}

// dlopen maps a library before it looks at it: a file that is shorter than its segments say (a copy that broke off)
// ends the process. Everything else that is wrong with a library dlopen says itself.
void check_whole(const std::string& file) {
  std::ifstream in(file, std::ios::binary | std::ios::ate);
  uint64_t size = in ? static_cast<uint64_t>(in.tellg()) : 0;
  Elf64_Ehdr head{};
  in.seekg(0);
  in.read(reinterpret_cast<char*>(&head), sizeof head);
  if (!in || std::memcmp(head.e_ident, ELFMAG, SELFMAG) != 0 || head.e_ident[EI_CLASS] != ELFCLASS64)
    throw Error(StatusCode::kBadInput, "the plug-in does not open: it is no library of 64 bits", file,
                "build it for this machine");
  bool whole = head.e_phentsize == sizeof(Elf64_Phdr) && head.e_phoff <= size &&
               uint64_t{head.e_phnum} * sizeof(Elf64_Phdr) <= size - head.e_phoff && head.e_shoff <= size &&
               uint64_t{head.e_shnum} * head.e_shentsize <= size - head.e_shoff;
  in.seekg(static_cast<std::streamoff>(whole ? head.e_phoff : 0));
  for (int i = 0; whole && i < head.e_phnum; ++i) {
    Elf64_Phdr part{};
    in.read(reinterpret_cast<char*>(&part), sizeof part);
    whole = in && (part.p_type != PT_LOAD || (part.p_offset <= size && part.p_filesz <= size - part.p_offset));
  }
  if (!whole)
    throw Error(StatusCode::kBadInput, "the plug-in does not open: the file is shorter than it says it is", file,
                "copy it again");
}

bool good_name(const std::string& name) {
  if (name.empty() || name.size() > 64 || name[0] < 'a' || name[0] > 'z') return false;
  return name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_") == std::string::npos;
}

// A struct of a plug-in begins with version and size: both are looked at before anything behind them.
void check_version(uint32_t version, const std::string& what) {
  if (version != MICROTOME_PLUGIN_VERSION)
    throw Error(StatusCode::kUnsupported,
                what + " is made for version " + std::to_string(version) +
                    " of the plug-in interface, this program has version " + std::to_string(MICROTOME_PLUGIN_VERSION),
                "", "build it again with this program's microtome_plugin.h");
}

void check_size(uint32_t size, size_t needed, const std::string& what) {
  if (size < needed)
    throw Error(StatusCode::kBadInput,
                what + " says it has " + std::to_string(size) + " bytes, version " +
                    std::to_string(MICROTOME_PLUGIN_VERSION) + " has " + std::to_string(needed),
                "", "set its size with sizeof");
}

PluginAnalysis read_analysis(const microtome_analysis* given) {
  if (!given) throw Error(StatusCode::kBadInput, "its entry is null");
  check_version(given->version, "it");
  check_size(given->size, sizeof(microtome_analysis), "its struct");
  PluginAnalysis out;
  out.calls = *given;
  out.title = text_of(given->title, "its title", kNameBytes);
  out.definition = text_of(given->definition, "its definition", kTextBytes);
  out.source = text_of(given->source, "its source", kTextBytes, "");
  if (out.title.empty() || out.definition.empty())
    throw Error(StatusCode::kBadInput, "its title or its definition is empty");
  if (given->analysis_version < 1)
    throw Error(StatusCode::kBadInput, "its version is " + std::to_string(given->analysis_version) + ", not 1 or more");
  out.version = given->analysis_version;
  if (given->prompts < MICROTOME_PROMPTS_NONE || given->prompts > MICROTOME_PROMPTS_PAIRS)
    throw Error(StatusCode::kBadInput, "it asks for prompts of the unknown kind " + std::to_string(given->prompts));
  out.prompts = given->prompts;
  out.needs_answers = given->needs_answers != 0;
  check_list(given->outputs, given->output_count, "its outputs", 4096);
  for (int64_t i = 0; i < given->output_count; ++i) {
    const microtome_output& o = given->outputs[i];
    std::string what = "output " + std::to_string(i + 1);
    PluginAnalysis::Output output{text_of(o.name, "the name of its " + what, kNameBytes),
                                  {},
                                  text_of(o.help, "the help of its " + what, kTextBytes, "")};
    check_list(o.axes, o.axis_count, "the axes of its " + what, 16);
    for (int64_t a = 0; a < o.axis_count; ++a)
      output.axes.push_back(text_of(o.axes[a], "an axis of its " + what, kNameBytes));
    out.outputs.push_back(std::move(output));
  }
  std::string params = text_of(given->params, "its params.json", kDocumentBytes);
  try {
    out.schema = parse_param_schema(params, "params.json");
  } catch (const Error& e) {
    throw Error(StatusCode::kBadInput, e.status().what(), e.status().where());
  }
  const char* missing = !given->create       ? "create"
                        : !given->item_count ? "item_count"
                        : !given->run_item   ? "run_item"
                        : !given->finish     ? "finish"
                                             : nullptr;
  if (missing) throw Error(StatusCode::kBadInput, std::string("its callback ") + missing + " is null");
  return out;
}

const microtome_plugin* enter(const std::string& file) {
  // RTLD_LOCAL: two plug-ins may use equal names inside.
  void* library = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    const char* why = dlerror();
    throw Error(StatusCode::kBadInput, "the plug-in does not open: " + sentence_of(why), file,
                "build it for this machine, with all it needs");
  }
  using Entry = const microtome_plugin* (*)(const microtome_host*);
  auto entry = reinterpret_cast<Entry>(dlsym(library, "microtome_plugin_entry"));
  if (!entry)
    throw Error(StatusCode::kBadInput, "the library has no function microtome_plugin_entry, so it is no plug-in", file,
                "move it out of the folder");
  const microtome_plugin* plugin = call_out(file, [&] { return entry(&host_table()); });
  if (!plugin) throw Error(StatusCode::kUnsupported, "the plug-in says that it cannot serve this program", file);
  return plugin;
}

}  // namespace

std::shared_ptr<const Plugin> load_plugin(const std::string& file, std::set<std::string>& taken,
                                          std::vector<std::string>& problems) {
  auto out = std::make_shared<Plugin>();
  out->file = file;
  out->hash = hash_of_file(file);
  check_whole(file);
  const microtome_plugin* given = enter(file);
  try {
    check_version(given->version, "the plug-in");
    check_size(given->size, sizeof(microtome_plugin), "its table");
    out->name = text_of(given->name, "its name", kNameBytes);
    out->version = text_of(given->plugin_version, "its version", kNameBytes, "");
    if (given->tasks || given->task_count || given->mixers || given->mixer_count)
      throw Error(StatusCode::kUnsupported, "the plug-in brings tasks or mixers, and this program takes analyses only");
    check_list(given->analyses, given->analysis_count, "its analyses", 4096);
  } catch (const Error& e) {
    throw Error(e.status().code(), e.status().what(), file, e.status().todo());
  }
  for (int64_t i = 0; i < given->analysis_count; ++i) {
    std::string which = "analysis " + std::to_string(i + 1);
    try {
      const microtome_analysis* a = given->analyses[i];
      // The name first, so that what is wrong with the rest can be said of it.
      std::string name;
      if (a && a->version == MICROTOME_PLUGIN_VERSION && a->size >= sizeof(microtome_analysis)) {
        name = text_of(a->name, "its name", kTextBytes);
        which = "analysis " + in_quotes(name, 64);
        if (!good_name(name))
          throw Error(StatusCode::kBadInput,
                      "its name is not made of a-z, 0-9 and _, from a letter on, at most 64 long");
      }
      PluginAnalysis analysis = read_analysis(a);
      analysis.name = name;
      if (taken.count(name))
        throw Error(StatusCode::kBadInput, "there is already an analysis of this name", "", "give it another name");
      taken.insert(name);
      out->analyses.push_back(std::move(analysis));
    } catch (const Error& e) {
      std::string what = e.status().what();
      if (!e.status().where().empty()) what += " in " + e.status().where();
      problems.push_back(Status(e.status().code(), which + " is left out: " + what, file, e.status().todo()).text());
    }
  }
  return out;
}

}  // namespace microtome::plugins
