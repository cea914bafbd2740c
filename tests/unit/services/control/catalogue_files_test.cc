#include "services/control/catalogue_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tributary::control {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class CatalogueFilesTest : public ::testing::Test {
 protected:
  CatalogueFilesTest() {
    highlevel_.set_name("crm");
    highlevel_.set_integration("highlevel");
    highlevel_.set_url("https://crm.example");
    (*highlevel_.mutable_settings())["location"] = "LOC1";
  }
  const NamedFile& connector_file() const { return *catalogue_->DefaultConnectorFile("highlevel"); }

  std::unique_ptr<Catalogue> catalogue_ = MakeCatalogue();
  v1::Connection highlevel_;
};

TEST_F(CatalogueFilesTest, WhatIsShippedIsFreeOfProblems) {
  EXPECT_THAT(catalogue_->CheckConnection(highlevel_, &connector_file()), IsEmpty());
  EXPECT_THAT(catalogue_->CheckSync(*catalogue_->DefaultMapping("highlevel"),
                                    *catalogue_->DefaultRules("highlevel"), &connector_file()),
              IsEmpty());
  EXPECT_THAT(catalogue_->CredentialFieldNames(highlevel_, &connector_file()),
              ElementsAre("token"));
  EXPECT_NE(catalogue_->DefaultMapping("rest"), nullptr);
  EXPECT_NE(catalogue_->DefaultRules("rest"), nullptr);
}

TEST_F(CatalogueFilesTest, ChargifyIsBuiltIn) {
  v1::Connection chargify;
  chargify.set_integration("chargify");

  EXPECT_EQ(catalogue_->DefaultConnectorFile("chargify"), nullptr);
  EXPECT_THAT(catalogue_->CredentialFieldNames(chargify, nullptr), ElementsAre("api_key"));
}

TEST_F(CatalogueFilesTest, ProblemsOfAConnectorFileHaveTheirPlace) {
  const NamedFile broken = {"mine.yaml", "integration: highlevel\nlimits: {concurency: 3}\n"};

  EXPECT_THAT(catalogue_->CheckConnection(highlevel_, &broken),
              Contains(HasSubstr("mine.yaml:2:")));
}

TEST_F(CatalogueFilesTest, ASettingThatTheConnectorFileDoesNotNameIsTold) {
  (*highlevel_.mutable_settings())["locaton"] = "x";

  EXPECT_THAT(catalogue_->CheckConnection(highlevel_, &connector_file()),
              ElementsAre(AllOf(HasSubstr("connection crm"), HasSubstr("location"))));
}

TEST_F(CatalogueFilesTest, AMappingOfAFieldThatTheTargetDoesNotHaveIsTold) {
  NamedFile mapping = *catalogue_->DefaultMapping("highlevel");
  const std::size_t at = mapping.content.find("firstName");
  ASSERT_NE(at, std::string::npos);
  mapping.content.replace(at, 9, "firstNmae");
  mapping.name = "mine.mapping.yaml";

  EXPECT_THAT(catalogue_->CheckSync(mapping, {}, &connector_file()),
              Contains(AllOf(HasSubstr("mine.mapping.yaml:"), HasSubstr("firstName"))));
}

TEST_F(CatalogueFilesTest, ARuleWithAnOperationThatTheTargetDoesNotHaveIsTold) {
  NamedFile rules = *catalogue_->DefaultRules("highlevel");
  const std::size_t at = rules.content.find("contact.note.create");
  ASSERT_NE(at, std::string::npos);
  rules.content.replace(at, 19, "contact.note.craete");
  rules.name = "mine.rules.yaml";

  EXPECT_THAT(
      catalogue_->CheckSync(*catalogue_->DefaultMapping("highlevel"), rules, &connector_file()),
      Contains(AllOf(HasSubstr("mine.rules.yaml:"), HasSubstr("contact.note.create"))));
}

}  // namespace
}  // namespace tributary::control
