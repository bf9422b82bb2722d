#include "app/desktop/frame/application.h"

#include <QApplication>
#include <QCommandLineParser>
#include <QDir>
#include <QFileInfo>
#include <QSettings>
#include <QTimer>
#include <cstdio>

#include "app/desktop/frame/main_window.h"
#include "app/desktop/panels/registry.h"
#include "app/desktop/session/session.h"
#include "app/desktop/theme/theme.h"

namespace microtome::desktop {

int runApplication(int argc, char** argv) {
  // Answered before a display is asked for.
  for (int i = 1; i < argc; ++i) {
    const QByteArray a(argv[i]);
    if (a == "--version") {
      std::printf("microtome-desktop %s\n", MICROTOME_VERSION);
      return 0;
    }
  }
  QCoreApplication::setOrganizationName(QStringLiteral("Microtome"));
  QCoreApplication::setApplicationName(QStringLiteral("Microtome"));
  QCoreApplication::setApplicationVersion(QStringLiteral(MICROTOME_VERSION));
  QCommandLineParser parser;
  parser.setApplicationDescription(QObject::tr("Microtome: a workbench for mechanistic interpretability of softmax and linear-attention language models.\n"
                                               "`microtome-desktop --headless ARGS…` is the same as `microtome ARGS…`."));
  parser.addHelpOption();
  parser.addVersionOption();
  parser.addPositionalArgument(QStringLiteral("FILE"), QObject::tr("a project (.microtome), a model folder, or two to compare; prompts (.jsonl)"), QStringLiteral("[FILE…]"));
  const QCommandLineOption demo(QStringLiteral("demo"), QObject::tr("Open the two models that ship with Microtome."));
  const QCommandLineOption dark(QStringLiteral("dark"), QObject::tr("Start with the dark theme."));
  const QCommandLineOption light(QStringLiteral("light"), QObject::tr("Start with the light theme."));
  const QCommandLineOption fresh(QStringLiteral("default-layout"), QObject::tr("Forget the saved window layout."));
  parser.addOptions({demo, dark, light, fresh});
  // --help needs no display either.
  bool onlyWords = false;
  for (int i = 1; i < argc; ++i) onlyWords = onlyWords || QByteArray(argv[i]) == "--help" || QByteArray(argv[i]) == "-h";
  if (onlyWords) {
    QCoreApplication words(argc, argv);
    parser.process(words);
    return 0;
  }

  QApplication app(argc, argv);
  QGuiApplication::setApplicationDisplayName(QStringLiteral("Microtome"));
  parser.process(app);
  QSettings settings;
  if (parser.isSet(fresh)) settings.remove(QStringLiteral("window"));
  const bool systemDark = QApplication::palette().color(QPalette::Window).lightness() < 128;
  bool isDark = settings.value(QStringLiteral("window/dark"), systemDark).toBool();
  if (parser.isSet(dark)) isDark = true;
  if (parser.isSet(light)) isDark = false;
  Theme::apply(app, isDark);

  int status = 0;
  {
    Session session;
    panels::Registry registry;
    panels::register_all(registry);
    MainWindow window(session, registry.all());
    window.show();
    // LibTorch is opened and the last project read when the first picture of the window is on the screen.
    QTimer::singleShot(0, &session, [&] {
      session.openEngine();
      QString project = settings.value(QStringLiteral("project/last")).toString();
      QStringList folders, prompts;
      const QStringList files = parser.positionalArguments();
      for (const QString& file : files) {
        const QFileInfo info(file);
        if (info.isDir()) folders << info.absoluteFilePath();
        else if (info.suffix() == QLatin1String("jsonl")) prompts << info.absoluteFilePath();
        else if (info.suffix() == QLatin1String("microtome") || !info.exists()) project = info.absoluteFilePath();
        else folders << info.absoluteFilePath();
      }
      if (parser.isSet(demo)) {
        session.openDemo();
        return;
      }
      if (!project.isEmpty() && (QFileInfo::exists(project) || !files.isEmpty())) session.openProject(project);
      else session.openUntitledProject();
      for (int i = 0; i < std::min<int>(Session::kSlots, static_cast<int>(folders.size())); ++i) session.openModel(folders[i], i);
      if (!prompts.isEmpty()) session.setFile(prompts.front());
    });
    status = QApplication::exec();
  }
  return status;
}

}  // namespace microtome::desktop
