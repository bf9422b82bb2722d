// Runs without a display, unless one is asked for: discovery of tests runs this binary too.
#include <QApplication>
#include <QStandardPaths>

#include <gtest/gtest.h>

#include "app/desktop/theme/theme.h"

int main(int argc, char** argv) {
  if (!qEnvironmentVariableIsSet("QT_QPA_PLATFORM")) qputenv("QT_QPA_PLATFORM", "offscreen");
  ::testing::InitGoogleTest(&argc, argv);
  // Settings and projects of tests never touch those of the person who runs them.
  QStandardPaths::setTestModeEnabled(true);
  QApplication::setOrganizationName(QStringLiteral("microtome-tests"));
  QApplication app(argc, argv);
  microtome::desktop::Theme::apply(app, qEnvironmentVariableIsSet("MICROTOME_TEST_DARK"));
  return RUN_ALL_TESTS();
}
