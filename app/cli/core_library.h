// core_library.h — finds and opens libmicrotome_app.so, which holds the core and LibTorch: beside the program, or under
// ../lib/microtome of an installation. Nothing is linked against it, so that a program is up before it is.
#pragma once

#include <string>

namespace microtome::cli {

// The folder this program lies in.
std::string program_folder();
// A function of the core library by name; null with one sentence in `why`. Opens the library on the first call; it then
// stays open. Any thread.
void* core_function(const char* symbol, std::string* why);

}  // namespace microtome::cli
