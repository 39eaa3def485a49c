//===- JsonFields.cpp - reading JSON objects with errors ------------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "JsonFields.h"

namespace nju::tokenizer {

namespace {
const Json nothing;
} // namespace

const char *describe(const Json &value) {
  switch (value.type()) {
  case Json::value_t::null:
    return "null";
  case Json::value_t::object:
    return "an object";
  case Json::value_t::array:
    return "an array";
  case Json::value_t::string:
    return "a string";
  case Json::value_t::boolean:
    return "a boolean";
  default:
    return "a number";
  }
}

JsonFields::JsonFields(const Json &object, std::string path, Status &status)
    : json(&object), where(std::move(path)), status(&status) {
  if (object.is_object() || !status.ok())
    return;
  status = {NJU_DATA_LOSS, (where.empty() ? "the document" : where) + " is " +
                               describe(object) + ", expected an object"};
}

const Json *JsonFields::find(const char *key) const {
  if (!json->is_object())
    return nullptr;
  auto found = json->find(key);
  return found == json->end() || found->is_null() ? nullptr : &*found;
}

void JsonFields::fail(const char *key, const std::string &what,
                      nju_status code) const {
  if (status->ok())
    *status = {code, (where.empty() ? "" : where + ".") + key + " " + what};
}

const Json &JsonFields::required(const char *key, Json::value_t type,
                                 const char *expected) const {
  const Json *value = find(key);
  if (value && value->type() == type)
    return *value;
  fail(key,
       value ? std::string("is ") + describe(*value) + ", expected " + expected
             : std::string("is missing, expected ") + expected);
  return nothing;
}

std::string JsonFields::string(const char *key) const {
  const Json &value = required(key, Json::value_t::string, "a string");
  return value.is_string() ? value.get<std::string>() : std::string();
}

const Json &JsonFields::array(const char *key) const {
  return required(key, Json::value_t::array, "an array");
}

const Json &JsonFields::object(const char *key) const {
  return required(key, Json::value_t::object, "an object");
}

int64_t JsonFields::integer(const char *key) const {
  if (!find(key))
    fail(key, "is missing, expected a whole number");
  return integer(key, 0);
}

std::string JsonFields::string(const char *key, std::string missing) const {
  return find(key) ? string(key) : std::move(missing);
}

bool JsonFields::boolean(const char *key, bool missing) const {
  const Json *value = find(key);
  if (!value)
    return missing;
  if (value->is_boolean())
    return value->get<bool>();
  fail(key, std::string("is ") + describe(*value) + ", expected a boolean");
  return missing;
}

int64_t JsonFields::integer(const char *key, int64_t missing) const {
  const Json *value = find(key);
  if (!value)
    return missing;
  if (value->is_number_integer())
    return value->get<int64_t>();
  fail(key, std::string("is ") +
                (value->is_number() ? "a fraction" : describe(*value)) +
                ", expected a whole number");
  return missing;
}

} // namespace nju::tokenizer
