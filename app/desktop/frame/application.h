// application.h — the program behind main(): the window with its command line, and what --headless adds to `microtome`.
#pragma once

#include "app/cli/command_line.h"

namespace microtome::desktop {

// Opens the window and runs until it is closed; returns the exit status.
int runApplication(int argc, char** argv);

// `microtome-desktop --headless report --format pdf …`: pages drawn by the app's own views. Needs no display.
int writePdfReport(int argc, char** argv, const cli::CommandLine& line);

}  // namespace microtome::desktop
