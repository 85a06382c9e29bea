mod blind_spots;
mod doubts;
mod properties;
mod rules;
mod symptoms;
mod timeline;
