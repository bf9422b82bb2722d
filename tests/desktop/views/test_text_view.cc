#include "app/desktop/views/text_view.h"

#include <gtest/gtest.h>

#include <QApplication>
#include <QImage>
#include <QMenu>
#include <QTemporaryDir>
#include <QTextBrowser>
#include <QTextTable>
#include <QtTest/QTest>

#include "app/desktop/theme/theme.h"

namespace microtome::desktop {
namespace {

bool hasColour(const QImage& image, const QColor& colour) {
  for (int y = 0; y < image.height(); ++y)
    for (int x = 0; x < image.width(); ++x)
      if (image.pixelColor(x, y) == colour) return true;
  return false;
}

TEST(TextView, NoPictureIsLoaded) {
  QTemporaryDir dir;
  const QString path = dir.filePath(QStringLiteral("red.png"));
  QImage red(60, 60, QImage::Format_RGB32);
  red.fill(QColor(255, 0, 0));
  ASSERT_TRUE(red.save(path));
  TextView view;
  view.resize(500, 400);
  for (const QString& target : {path, QStringLiteral("file://") + path}) {
    view.setMarkdown(QStringLiteral("before ![a plot](%1) after").arg(target));
    view.show();
    EXPECT_FALSE(hasColour(view.grab().toImage(), QColor(255, 0, 0)));
    EXPECT_FALSE(hasColour(view.image(), QColor(255, 0, 0)));
    EXPECT_TRUE(view.browser()->toPlainText().contains(QStringLiteral("[picture not shown: a plot]")));
    // Whoever asks the document gets nothing of the file, by any kind of resource.
    for (int kind : {int(QTextDocument::ImageResource), int(QTextDocument::HtmlResource),
                         int(QTextDocument::StyleSheetResource)}) {
      const QVariant got = view.browser()->document()->resource(kind, QUrl(target));
      EXPECT_LE(got.toByteArray().size(), 0);
      EXPECT_LE(got.value<QImage>().width(), 1);
    }
  }
}

TEST(TextView, LinksOpenNothing) {
  TextView view;
  view.setMarkdown(QStringLiteral("[x](https://example.org) and <script>alert(1)</script> <b>no</b>"));
  EXPECT_FALSE(view.browser()->openLinks());
  EXPECT_FALSE(view.browser()->openExternalLinks());
  EXPECT_TRUE(view.browser()->toPlainText().contains(QStringLiteral("<b>no</b>"))) << "markup is shown, not obeyed";
}

TEST(TextView, MarkdownBecomesText) {
  TextView view;
  const QString source = QStringLiteral("# Title\n\n> quoted\n\n| a | b |\n|---|---|\n| 1 | 2 |\n");
  view.setMarkdown(source);
  EXPECT_EQ(view.source(), source);
  EXPECT_EQ(view.browser()->document()->begin().blockFormat().headingLevel(), 1);
  QTextTable* table = nullptr;
  for (QTextFrame* frame : view.browser()->document()->rootFrame()->childFrames())
    if (auto* t = qobject_cast<QTextTable*>(frame)) table = t;
  ASSERT_NE(table, nullptr);
  EXPECT_EQ(table->cellAt(0, 0).firstCursorPosition().block().text(), QStringLiteral("a"));
  view.setPlain(QStringLiteral("# not a title"));
  EXPECT_EQ(view.browser()->toPlainText(), QStringLiteral("# not a title"));
}

TEST(TextView, LinkColourFollowsTheTheme) {
  const bool dark = Theme::of(qApp->palette()).dark;
  TextView view;
  view.setMarkdown(QStringLiteral("[link](https://example.org)"));
  view.resize(300, 100);
  view.show();
  const auto colour = [&] {
    return view.browser()->document()->begin().begin().fragment().charFormat().foreground().color();
  };
  EXPECT_EQ(colour(), Theme::of(&view).accent);
  Theme::apply(*qApp, !dark);
  QTest::qWait(10);
  EXPECT_EQ(colour(), (dark ? Theme::light() : Theme::darkTheme()).accent);
  Theme::apply(*qApp, dark);
}

TEST(TextView, HostileTextIsCutAndDefused) {
  TextView view;
  view.setPlain(QString(TextView::kMostCharacters + 1000, QLatin1Char('x')));
  EXPECT_TRUE(view.browser()->toPlainText().contains(QStringLiteral("cut here: ")));
  view.setMarkdown(QStringLiteral("a\u202eb"));
  EXPECT_FALSE(view.browser()->toPlainText().contains(QChar(0x202e)));
  view.setMarkdown(QString());
  EXPECT_TRUE(view.browser()->toPlainText().isEmpty());
  EXPECT_FALSE(view.image().isNull());
}

}  // namespace
}  // namespace microtome::desktop
