// One analysis that would do, and one thing wrong with it: which, the macro says.
#include <microtome_plugin.h>

#include <cstddef>
#include <stdexcept>

namespace {

int32_t create(void*, microtome_run*, void**, microtome_error*) { return MICROTOME_OK; }
int64_t item_count(void*) { return 1; }
int32_t run_item(void*, microtome_run*, int64_t, microtome_error*) { return MICROTOME_OK; }
int32_t finish(void*, microtome_run*, microtome_error*) { return MICROTOME_OK; }

[[maybe_unused]] microtome_analysis good(const char* name) {
  microtome_analysis a{};
  a.version = MICROTOME_PLUGIN_VERSION;
  a.size = sizeof a;
  a.name = name;
  a.analysis_version = 1;
  a.title = "A title";
  a.definition = "A definition.";
  a.params = "{\"params\": []}";
  a.create = create;
  a.item_count = item_count;
  a.run_item = run_item;
  a.finish = finish;
  return a;
}

}  // namespace

#ifndef BAD_NO_ENTRY
const microtome_plugin* microtome_plugin_entry(const microtome_host*) {
  static microtome_analysis bad = good("bad_one"), fine = good("fine_one");
  static const microtome_analysis* all[] = {&bad, &fine};
  static microtome_plugin plugin{};
  plugin.version = MICROTOME_PLUGIN_VERSION;
  plugin.size = sizeof plugin;
  plugin.name = "bad";
  plugin.analyses = all;
  plugin.analysis_count = 2;
#if defined(BAD_NULL_TABLE)
  return nullptr;
#elif defined(BAD_WRONG_VERSION)
  plugin.version = 77;
  plugin.size = 8;  // nothing behind the size may be looked at
  plugin.name = reinterpret_cast<const char*>(8);
#elif defined(BAD_TRUNCATED_TABLE)
  plugin.size = offsetof(microtome_plugin, analyses);
  plugin.analyses = reinterpret_cast<const microtome_analysis* const*>(8);
#elif defined(BAD_WRONG_ANALYSIS_VERSION)
  bad.version = 78;
  bad.name = reinterpret_cast<const char*>(8);
#elif defined(BAD_TRUNCATED_ANALYSIS)
  bad.size = 24;
#elif defined(BAD_NULL_TITLE)
  bad.title = nullptr;
#elif defined(BAD_NULL_CALLBACK)
  bad.run_item = nullptr;
#elif defined(BAD_NULL_ENTRY)
  all[0] = nullptr;
#elif defined(BAD_NEGATIVE_COUNT)
  plugin.analysis_count = -5;
#elif defined(BAD_WITH_TASKS)
  plugin.task_count = 1;
#elif defined(BAD_CLASH)
  bad.name = "ablation";
#elif defined(BAD_BAD_NAME)
  bad.name = "../\x1b[2Jevil";
#elif defined(BAD_BROKEN_PARAMS)
  bad.params = "{\"params\": [{\"name\": ";
#elif defined(BAD_MISSING_DEFAULT)
  bad.params = "{\"params\": [{\"name\": \"x\", \"type\": \"int\", \"help\": \"h\", \"affects\": \"answer\"}]}";
#elif defined(BAD_THROWS_IN_ENTRY)
  throw std::runtime_error("no licence found");
#endif
  return &plugin;
}
#endif
