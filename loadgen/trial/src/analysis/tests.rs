mod doubts;
mod properties;
mod rules;
mod symptoms;
mod timeline;
